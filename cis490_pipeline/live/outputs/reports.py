"""Reports of live inference: one per window, and the state of the device."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.features.windows import STEPS
from cis490_pipeline.live.calibration import Baseline
from cis490_pipeline.live.clocks.source_clock import Health
from cis490_pipeline.live.feeds.agent_status import SILENT_S, AgentStatus
from cis490_pipeline.live.models import Output
from cis490_pipeline.live.outputs.line_output import SinkReport
from cis490_pipeline.storage.json_text import Json

FAULTS_LAST: Final = 20
"""Latest faulty lines kept as text; all are counted."""

FAULTS_FIRST: Final = 3
"""Earliest faulty lines kept as text: often all have the same fault."""


class Stage(StrEnum):
    """Stage of a live device."""

    WAITING = "waiting"
    """No row with a device time yet."""
    CALIBRATING = "calibrating"
    """The learning time (by default 15 s) is being taken as the baseline."""
    RUNNING = "running"


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowReport:
    """Predictions of all models for one window.

    Attributes
    ----------
    window_idx : counted from the start of the calibration, in strides of 5 s.
    t_start_ns, t_end_ns : device time, Unix ns.
    t_s : start of the window, seconds since the start of window 0.
    seen : (n_steps, 46) log1p values of the window, after those that models needed of the time
        before it; NaN is unknown.
    """

    window_idx: int
    t_start_ns: int
    t_end_ns: int
    t_s: float
    seen: npt.NDArray[np.float32]
    suspect_baseline: bool
    outputs: tuple[Output, ...]

    @property
    def grid(self) -> npt.NDArray[np.float32]:
        """(100, 46) log1p values of the window."""
        return self.seen[-STEPS:]

    @property
    def known_share(self) -> float:
        """Share of the grid that is known."""
        return float(np.isfinite(self.grid).mean())

    def to_dict(self) -> dict[str, Json]:
        """As the object of a JSON line."""
        return {
            "type": "window",
            "window_idx": self.window_idx,
            "t_start_wall_ns": self.t_start_ns,
            "t_end_wall_ns": self.t_end_ns,
            "known_share": round(self.known_share, 4),
            "suspect_baseline": self.suspect_baseline,
            "models": {output.model: output.to_dict() for output in self.outputs},
        }


@dataclass(frozen=True, kw_only=True)
class SourceReport:
    """State of one source.

    Attributes
    ----------
    age_s : age of its newest row; None before the first.
    offset_s : how far its clock is ahead of the other sources', which is corrected; else 0.
    n_set_aside : rows dropped because they fitted no time.
    n_repeated : rows equal to an earlier one in every field; used once.
    n_held : rows that do not fit the time yet, held until more follow.
    """

    health: Health
    age_s: float | None
    offset_s: float
    n_used: int
    n_late: int
    n_out_of_order: int
    n_set_aside: int
    n_held: int = 0
    n_repeated: int = 0

    def to_dict(self) -> dict[str, Json]:
        """As a JSON object."""
        return {
            "state": str(self.health),
            "age_s": None if self.age_s is None else round(self.age_s, 2),
            "clock_offset_s": round(self.offset_s, 3),
            "rows": self.n_used,
            "late": self.n_late,
            "out_of_order": self.n_out_of_order,
            "repeated": self.n_repeated,
            "set_aside": self.n_set_aside,
            "held": self.n_held,
        }


@dataclass(frozen=True, kw_only=True)
class LiveState:
    """Complete state of a live device, with that of each output.

    ``calibration_s`` is the part of the learning time ``learn_s`` that has passed; None once there
    is a baseline. ``agent`` is the latest status of the device's agent, and ``agent_age_s`` the
    device time since it came; None if none has sent one.
    """

    stage: Stage
    now_ns: int | None
    calibration_s: float | None
    baseline: Baseline | None
    sources: Mapping[Source, SourceReport]
    n_windows: int
    n_jumps: int
    n_overrun: int
    learn_s: float | None = None
    sinks: tuple[SinkReport, ...] = ()
    agent: AgentStatus | None = None
    agent_age_s: float | None = None

    @property
    def agent_is_silent(self) -> bool:
        """Whether the agent sent a status, and has sent none for long."""
        return self.agent_age_s is not None and self.agent_age_s >= SILENT_S

    def to_dict(self) -> dict[str, Json]:
        """As the object of a JSON line."""
        return {
            "type": "state",
            "stage": str(self.stage),
            "t_wall_ns": self.now_ns,
            "calibration_s": self.calibration_s,
            "learn_s": self.learn_s,
            "baseline": None if self.baseline is None else self.baseline.to_dict(),
            "sources": {str(source): report.to_dict() for source, report in self.sources.items()},
            "windows": self.n_windows,
            "clock_jumps": self.n_jumps,
            "rows_overrun": self.n_overrun,
            "sinks": {sink.name: sink.to_dict() for sink in self.sinks},
            "agent": None if self.agent is None else self.agent.to_dict(),
            "agent_age_s": None if self.agent_age_s is None else round(self.agent_age_s, 2),
        }

    def gist(self) -> tuple[object, ...]:
        """Fields whose change triggers a state event (excludes counters and ages)."""
        health = tuple(
            (s, report.health, report.offset_s, report.n_set_aside > 0)
            for s, report in self.sources.items()
        )
        baseline = None if self.baseline is None else self.baseline.id
        sinks = tuple((sink.name, sink.trouble) for sink in self.sinks)
        agent = None if self.agent is None else (self.agent.gist(), self.agent_is_silent)
        return (self.stage, baseline, health, self.n_jumps, sinks, agent)


@dataclass
class Faults:
    """Faulty lines: all counted, the first and the last ones kept as text."""

    n: int = 0
    first: list[str] = field(default_factory=list)
    last: deque[str] = field(default_factory=lambda: deque(maxlen=FAULTS_LAST))

    def add(self, what: object) -> None:
        """Record a fault, escaping control characters: its text is untrusted."""
        self.n += 1
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(what))
        self.last.append(text)
        if len(self.first) < FAULTS_FIRST:
            self.first.append(text)


def seconds_between(start_ns: int, end_ns: int) -> float:
    """Difference of two Unix times in ns, s."""
    return (end_ns - start_ns) / NS_PER_S

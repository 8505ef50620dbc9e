"""What a live device has to say: of each window, and of how it is doing."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.live.calibration import Baseline
from cis490_pipeline.live.clocks.source_clock import Health
from cis490_pipeline.live.models import Output
from cis490_pipeline.live.outputs.line_output import SinkReport

FAULTS_TOLD: Final = 20
"""Faulty lines that are kept by name; all are counted."""

FAULTS_FIRST: Final = 3
"""Faulty lines that are kept from the beginning: often all are faulty in the same way."""


class Stage(StrEnum):
    """How far a live device is."""

    WAITING = "waiting"
    """No row yet."""
    CALIBRATING = "calibrating"
    """Its first 15 s are being taken as its baseline."""
    RUNNING = "running"


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowReport:
    """What all models say of one window.

    Attributes
    ----------
    window_idx : counted from the start of the calibration, 5 s apart.
    t_start_ns, t_end_ns : Unix time on the device, ns.
    t_s : start of the window, seconds since the first window could have begun.
    grid : (100, 46) log1p values of the window; NaN is unknown.
    took_ms : time that features and models took, ms.
    """

    window_idx: int
    t_start_ns: int
    t_end_ns: int
    t_s: float
    grid: npt.NDArray[np.float32]
    suspect_baseline: bool
    outputs: tuple[Output, ...]
    took_ms: float

    @property
    def known_share(self) -> float:
        """Share of the grid that is known."""
        return float(np.isfinite(self.grid).mean())

    def to_dict(self) -> dict[str, Any]:
        """As a line of JSON carries it."""
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
    """How one source is.

    Attributes
    ----------
    age_s : of its newest row; None before the first.
    offset_s : how far its clock is ahead of the other sources', which is corrected; 0 if it is not.
    n_set_aside : rows set aside, because they fitted no time.
    n_repeated : rows equal to an earlier one in every field; they count once.
    n_held : rows that do not fit the time and are held until more follow.
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

    def to_dict(self) -> dict[str, Any]:
        """As JSON carries it."""
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
    """How a live device is doing, all of it visible.

    Attributes
    ----------
    calibration_s : seconds of the calibration that have passed; None once there is a baseline.
    sinks : how the outputs are.
    """

    stage: Stage
    now_ns: int | None
    calibration_s: float | None
    baseline: Baseline | None
    sources: Mapping[Source, SourceReport]
    n_windows: int
    n_jumps: int
    n_overrun: int
    sinks: tuple[SinkReport, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As a line of JSON carries it."""
        return {
            "type": "state",
            "stage": str(self.stage),
            "t_wall_ns": self.now_ns,
            "calibration_s": self.calibration_s,
            "baseline": None if self.baseline is None else self.baseline.to_dict(),
            "sources": {str(source): said.to_dict() for source, said in self.sources.items()},
            "windows": self.n_windows,
            "clock_jumps": self.n_jumps,
            "rows_overrun": self.n_overrun,
            "sinks": {sink.name: sink.to_dict() for sink in self.sinks},
        }

    def gist(self) -> tuple[object, ...]:
        """Return the fields whose change is reported; counters and ages are left out."""
        health = tuple(
            (s, said.health, said.offset_s, said.n_set_aside > 0)
            for s, said in self.sources.items()
        )
        baseline = None if self.baseline is None else self.baseline.id
        sinks = tuple((sink.name, sink.trouble) for sink in self.sinks)
        return (self.stage, baseline, health, self.n_jumps, sinks)


@dataclass
class Faults:
    """Lines that were no rows: all counted, the first and the last ones named."""

    n: int = 0
    first: list[str] = field(default_factory=list)
    last: deque[str] = field(default_factory=lambda: deque(maxlen=FAULTS_TOLD))

    def add(self, what: object) -> None:
        """Note one, in characters that do nothing to a terminal: its text comes from outside."""
        self.n += 1
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(what))
        self.last.append(text)
        if len(self.first) < FAULTS_FIRST:
            self.first.append(text)


def seconds_between(start_ns: int, end_ns: int) -> float:
    """Return the time from one Unix time in ns to another, s."""
    return (end_ns - start_ns) / NS_PER_S

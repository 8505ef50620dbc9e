"""Publish live reports as dashboard events."""

from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import CHANNELS
from cis490_pipeline.events.contract import (
    Episode,
    Event,
    PhaseNow,
    Prediction,
    SourceState,
    SourceWord,
    Telemetry,
)
from cis490_pipeline.events.outbox import Outbox
from cis490_pipeline.events.values import MAX_TEXT
from cis490_pipeline.features.resample import GRID_HZ
from cis490_pipeline.features.windows import STRIDE_S, STRIDE_STEPS, WINDOW_S
from cis490_pipeline.live.clocks.source_clock import Health
from cis490_pipeline.live.feeds.agent_status import AgentStatus
from cis490_pipeline.live.models import Output
from cis490_pipeline.live.outputs.agent_health import AgentHealth
from cis490_pipeline.live.outputs.line_output import SinkReport
from cis490_pipeline.live.outputs.reports import (
    Faults,
    LiveState,
    SourceReport,
    Stage,
    WindowReport,
)
from cis490_pipeline.live.outputs.sinks import Sink

_STATES: Final[dict[Health, tuple[SourceWord, str | None]]] = {
    Health.ALIVE: ("ok", None),
    Health.LATE: ("late", "its rows are older than a window waits for"),
    Health.DEAD: ("dead", "no row for three of its intervals plus 2 s"),
    Health.AWAITED: ("dead", "no row has arrived yet"),
    Health.SKEWED: ("clock_jump", "its rows do not fit the device's time"),
}
CALIBRATION: Final = "calibration"
CLOCK: Final = "clock"
AGENT: Final = "agent"


class Publishing(Sink):
    """Sink that puts events into an outbox; state events carry what notes say."""

    def __init__(
        self, outbox: Outbox, episode_id: str, models: list[str], lead: str, host_id: str | None
    ) -> None:
        """Announce the device; the phase of the model ``lead`` is shown as the device's."""
        self._outbox, self._episode_id, self._lead = outbox, episode_id, lead
        self._host_id = host_id
        self._t_s = 0.0
        self._agent = AgentHealth()
        self._agent_was: tuple[AgentStatus, bool] | None = None
        self._put(
            Episode(
                episode_id=episode_id,
                host_id=host_id,
                state="running",
                origin="live",
                models=models,
            )
        )

    def window(self, report: WindowReport) -> None:
        """Publish predictions, the leading model's phase and the newest 5 s of telemetry."""
        end_s = report.t_s + WINDOW_S
        self._t_s = end_s
        made = (prediction(report, out, self._episode_id, self._host_id) for out in report.outputs)
        events: list[Event] = [event for event in made if event is not None]
        leading = next((out for out in report.outputs if out.model == self._lead), None)
        if leading is not None and leading.phase is not None:
            phase = str(leading.phase)
            events.append(PhaseNow(phase=phase, episode_id=self._episode_id, t_s=end_s))
        # Windows overlap: publish only the new part.
        newest = report.grid[-STRIDE_STEPS:]
        events.append(telemetry(self._episode_id, newest, end_s - STRIDE_S))
        self._put(*events)

    def state(self, state: LiveState, faults: Faults, *, changed: bool) -> None:
        """Publish the agent's state if it has news; all else if it changed."""
        if state.agent is not None:
            self._agent_state(state.agent, is_silent=state.agent_is_silent)
        if not changed:
            return
        for source, report in state.sources.items():
            self._put(self._source_state(str(source), *_source_word(report)))
        self._put(self._source_state(CALIBRATION, *_calibration_word(state)))
        if state.n_jumps:
            text = f"jumped {state.n_jumps} times"
            self._put(self._source_state(CLOCK, "clock_jump", text))

    def report(self) -> SinkReport | None:
        """Return the number of events dropped before delivery."""
        dropped = self._outbox.n_dropped
        return SinkReport(name="dashboard", trouble=None, n_waiting=0, n_lost=dropped)

    def close(self) -> None:
        """Announce the end, and deliver what can be delivered."""
        self._put(Episode(episode_id=self._episode_id, state="ended", origin="live"))
        self._outbox.close()

    def _put(self, *events: Event) -> None:
        self._outbox.put(list(events))

    def _agent_state(self, status: AgentStatus, *, is_silent: bool) -> None:
        if self._agent_was == (status, is_silent):
            return
        if self._agent_was is None or self._agent_was[0] != status:
            self._agent.take(status)
        self._agent_was = status, is_silent
        word: SourceWord = "clock_jump" if self._agent.is_recent("clock_steps") else "ok"
        trouble = self._agent.trouble(is_silent=is_silent)[:MAX_TEXT]
        word = "dead" if is_silent else word
        self._put(self._source_state(AGENT, word, trouble or None, self._agent.line()))

    def _source_state(
        self, source: str, word: SourceWord, why: str | None, detail: str | None = None
    ) -> SourceState:
        return SourceState(
            episode_id=self._episode_id,
            source=source,
            state=word,
            t_s=self._t_s,
            why=why,
            detail=detail,
        )


def _source_word(report: SourceReport) -> tuple[SourceWord, str | None]:
    """Return a source's state and its reason, including a corrected clock offset."""
    word, reason = _STATES[report.health]
    parts = [] if reason is None else [reason]
    if report.offset_s:
        word = "clock_jump" if word == "ok" else word
        parts.append(f"its clock is {report.offset_s:+.1f} s off and corrected")
    if report.n_set_aside:
        parts.append(f"{report.n_set_aside} rows set aside")
    return word, "; ".join(parts) or None


def _calibration_word(state: LiveState) -> tuple[SourceWord, str | None]:
    if state.baseline is not None:
        if state.baseline.suspect:
            return "suspect_baseline", "the baseline was not found clean"
        return "ok", None
    if state.calibration_s is None or state.learn_s is None:
        return "calibrating", str(Stage.WAITING)
    return "calibrating", f"under way, {state.calibration_s:.0f} of {state.learn_s:.0f} s"


def prediction(
    report: WindowReport,
    out: Output,
    episode_id: str,
    host_id: str | None,
    actual: str | None = None,
) -> Prediction | None:
    """Build the event of a model's output for a window; None if it predicts nothing."""
    if out.phase is None:
        return None
    alarm = out.alarm
    return Prediction(
        episode_id=episode_id,
        window_idx=report.window_idx,
        predicted=str(out.phase),
        actual=actual,
        model=out.model,
        confidence=out.confidence,
        t_start_s=report.t_s,
        t_end_s=report.t_s + WINDOW_S,
        alarm=None if alarm is None else alarm.alarming,
        p_infected=None if alarm is None else min(max(alarm.infected, 0.0), 1.0),
        host_id=host_id,
    )


def telemetry(
    episode_id: str, grid: npt.NDArray[np.float32], start_s: float, every: int = GRID_HZ
) -> Telemetry:
    """Convert a grid to channel readings in their own units, one a second.

    Parameters
    ----------
    grid : (n_steps, 46) log1p values, 0.1 s each; n_steps a multiple of ``every``.
    start_s : start of the first step, seconds since the episode's start.
    every : steps averaged to one reading; unknown values are left out.
    """
    values = np.expm1(grid.astype(np.float64)).reshape(-1, every, len(CHANNELS))
    n_known = np.isfinite(values).sum(axis=1)
    total = np.where(np.isfinite(values), values, 0.0).sum(axis=1)
    mean = np.where(n_known > 0, total / np.maximum(n_known, 1), np.nan)
    ends_s = start_s + (np.arange(len(mean)) + 1) * every / GRID_HZ
    return Telemetry(
        episode_id=episode_id,
        t_s=[round(float(t), 3) for t in ends_s],
        values={
            channel.name: [None if np.isnan(x) else float(f"{x:.6g}") for x in mean[:, i]]
            for i, channel in enumerate(CHANNELS)
        },
    )

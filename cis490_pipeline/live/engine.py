"""Online inference: rows in, window reports out, with the batch code's features.

Rules
-----
- The first row with a device time (``clock``) is the start, or the given start if it is within a
  minute of it. With a calibration record windows start there; without one the learning time (by
  default 15 s) becomes the baseline, and windows start after it.
- A window closes 2 s after its end. Later rows are not in it; they are counted as late.
- A clock jump discards open windows; the next starts at the jump. A running calibration takes its
  running 15 s again; a finished one stays, and so does the alarm.
- A calibration takes the sources that are known in over half of it. It takes 15 s again if none
  is known in them, and at most twice for a source that has started to send; a source that starts
  within 5 minutes is calibrated by its own first 15 s.
- A window without any known value for a model gets no prediction and moves no alarm.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.features.calibration.cleanliness import CleanlinessCheck
from cis490_pipeline.features.channels import source_slices
from cis490_pipeline.features.history import HISTORY_STEPS
from cis490_pipeline.features.resample import STEP_NS, episode_grid
from cis490_pipeline.features.windows import BASELINE_S, BASELINE_STEPS, STEPS, STRIDE_STEPS
from cis490_pipeline.live.buffer import SourceBuffer
from cis490_pipeline.live.calibration import (
    Baseline,
    Learning,
    calibrated_text,
    duration_text,
    shortfall,
    source_shares,
)
from cis490_pipeline.live.clocks.clock import DeviceClock, RowVerdict
from cis490_pipeline.live.clocks.source_clock import Health
from cis490_pipeline.live.clocks.timeline import GRACE_NS
from cis490_pipeline.live.feeds.rows import LiveRow
from cis490_pipeline.live.models import LiveModel, RawWindow
from cis490_pipeline.live.outputs.reports import (
    LiveState,
    SourceReport,
    Stage,
    WindowReport,
    seconds_between,
)
from cis490_pipeline.store.rows.columns import Columns

STRIDE_NS: Final = STRIDE_STEPS * STEP_NS
WINDOW_NS: Final = STEPS * STEP_NS
_HISTORY_NS: Final = 5 * NS_PER_S
"""History needed before a grid: rates are held for up to 3 s."""
_START_NS: Final = 60 * NS_PER_S
_FIRST_INDEX: Final = BASELINE_STEPS // STRIDE_STEPS
_NOTES: Final = 100
_MAX_AGAIN: Final = 2
"""Restarts of a calibration, at most, for a source that was silent in half of it."""
_LATE_NS: Final = 300 * NS_PER_S
"""Time after the calibration in which a new source is still calibrated; later the device may be
infected already."""
_LATE_SHARE: Final = 0.8
"""Share of its first 15 s in which a late source must be known."""


class LiveEngine:
    """Online inference for one device: rows in, window reports out, in bounded memory.

    Attributes
    ----------
    name : name of the recording.
    notes : messages, newest last; the reader removes those it has reported.
    """

    def __init__(
        self,
        models: Sequence[LiveModel],
        *,
        baseline: Baseline | None = None,
        learn_s: float = BASELINE_S,
        on_learnt: Callable[[Float32s], None] | None = None,
        check: CleanlinessCheck | None = None,
        start_ns: Callable[[], int | None] = lambda: None,
        name: str = "live",
        wall_ns: Callable[[], int] | None = None,
    ) -> None:
        """Create an engine that waits for rows.

        Parameters
        ----------
        baseline : the device's baseline; None learns it, and ``check`` judges it.
        learn_s : learning time, s, rounded up to a multiple of 15.
        on_learnt : called with all that was learnt from, (n_steps, 46) log1p values.
        start_ns : called at the first row; start of the recording, Unix ns, or None to start with
            that row.
        wall_ns : this machine's own clock, Unix ns, for rows that arrive as they are recorded.
        """
        self.name = name
        self.notes: deque[str] = deque(maxlen=_NOTES)
        self._models = tuple(models)
        history = any(model.calibrator.kind == "history" for model in self._models)
        self._n_before = HISTORY_STEPS if history else 0
        self._read = {s for model in self._models for s in source_slices(model.variant)}
        self._baseline = baseline
        self._check = check
        self._given_start_ns = start_ns
        self._clock = DeviceClock(self.notes.append, wall_ns)
        self._buffers = {source: SourceBuffer(source) for source in Source}
        self._learn_s, self._on_learnt = learn_s, on_learnt
        self._calibration: Learning | None = None
        self._anchor_ns: int | None = None
        self._next_index = 0 if baseline is not None else _FIRST_INDEX
        self._closed_ns: int | None = None
        self._n_windows = 0
        self._mono_ns = 0
        self._n_again = 0
        self._late_until_ns: int | None = None

    @property
    def anchor_ns(self) -> int | None:
        """Start of window 0, Unix ns on the device; None before the first row."""
        return self._anchor_ns

    def feed(self, row: LiveRow, mono_ns: int) -> list[WindowReport]:
        """Take a row of any source, which arrived at ``mono_ns``, and close due windows."""
        self._use(self._clock.place(row, mono_ns))
        return self.advance(mono_ns)

    def advance(self, mono_ns: int) -> list[WindowReport]:
        """Close the windows that are due, whether or not rows arrived."""
        self._mono_ns = mono_ns
        self._use(self._clock.tick(mono_ns))
        now = self._clock.now_ns(mono_ns)
        return [] if now is None else self._close_until(now - GRACE_NS)

    def finish(self) -> list[WindowReport]:
        """Close all complete windows: no more rows will come."""
        self._use(self._clock.finish(self._mono_ns))
        newest = self._clock.newest_ns
        # The last row before a window's end is up to one step older than the end.
        return [] if newest is None else self._close_until(newest + STEP_NS)

    def state(self, mono_ns: int) -> LiveState:
        """Return the current state of the device."""
        now = self._clock.now_ns(mono_ns)
        progress = self._calibration
        return LiveState(
            stage=self._stage(),
            now_ns=now,
            calibration_s=progress.seconds(now) if progress and now is not None else None,
            learn_s=None if progress is None else progress.wanted_s,
            baseline=self._baseline,
            sources={
                source: self._source(source, now, mono_ns)
                for source in Source
                if source in self._read or self._clock.sources[source].came
            },
            n_windows=self._n_windows,
            n_jumps=self._clock.n_jumps,
            n_overrun=sum(buffer.overrun for buffer in self._buffers.values()),
        )

    def _stage(self) -> Stage:
        if self._anchor_ns is None:
            return Stage.WAITING
        return Stage.CALIBRATING if self._calibration is not None else Stage.RUNNING

    def _source(self, source: Source, now: int | None, mono_ns: int) -> SourceReport:
        clock = self._clock.sources[source]
        age_ns = None if now is None else clock.age_ns(now)
        return SourceReport(
            health=self._clock.health(source, mono_ns),
            age_s=None if age_ns is None else age_ns / NS_PER_S,
            offset_s=clock.offset_ns / NS_PER_S,
            n_used=clock.n_used,
            n_late=clock.n_late,
            n_out_of_order=clock.n_out_of_order,
            n_repeated=clock.n_repeated,
            n_set_aside=clock.n_set_aside,
            n_held=clock.n_held,
        )

    def _use(self, verdict: RowVerdict) -> None:
        """Buffer the rows of a verdict, after a restart if the clock jumped."""
        if not verdict.rows:
            return
        first_ns = min(row.t_wall_ns for row in verdict.rows)
        if verdict.jumped:
            self._begin_again(first_ns)
        if self._anchor_ns is None:
            self._begin(first_ns)
        for row in verdict.rows:
            if self._closed_ns is not None and row.t_wall_ns <= self._closed_ns:
                self._clock.sources[row.source].n_late += 1
            self._buffers[row.source].add(row)

    def _begin(self, first_ns: int) -> None:
        given = self._given_start_ns()
        near = given is not None and abs(given - first_ns) <= _START_NS
        start_ns = given if near and given is not None else first_ns
        self._anchor_ns = start_ns
        if self._baseline is None:
            self._calibration = Learning(start_ns, self._learn_s)
            learn = duration_text(self._calibration.wanted_s)
            self.notes.append(f"calibrating: the first {learn} are the baseline")

    def _begin_again(self, first_ns: int) -> None:
        for buffer in self._buffers.values():
            buffer.clear()
        self._closed_ns = None
        if self._calibration is not None:
            self._calibration.restart_piece(first_ns)
            self._anchor_ns = first_ns
            self.notes.append("the clock jumped: the calibration takes its running 15 s again")
            return
        # The window count continues: the next window starts at the jump.
        self._anchor_ns = first_ns - self._next_index * STRIDE_NS
        self.notes.append("the clock jumped: windows start again there, baseline and alarm stay")

    def _close_until(self, until_ns: int) -> list[WindowReport]:
        """Close the calibration and the windows that end by then."""
        while self._calibration is not None:
            if self._calibration.end_ns > until_ns:
                return []
            self._calibrate(self._calibration)
        if self._baseline is None or self._anchor_ns is None:
            return []
        reports = []
        while self._anchor_ns + self._next_index * STRIDE_NS + WINDOW_NS <= until_ns:
            reports.append(self._close_next(self._anchor_ns, self._baseline))
        return reports

    def _calibrate(self, learning: Learning) -> None:
        """Close the running 15 s of the calibration."""
        end_ns = learning.end_ns
        piece = episode_grid(self._rows(), learning.start_ns, BASELINE_STEPS)
        # After some restarts, continue without the missing sources.
        alive = self._alive() if self._n_again < _MAX_AGAIN else ()
        problem = shortfall(piece, self._read, alive)
        learnt = None
        if problem is None:
            learnt = learning.add(piece)
        else:
            self._n_again += 1
            learning.restart_piece(end_ns)
            self.notes.append(f"{problem}: the calibration takes 15 s again")
        self._trim(end_ns)
        if learnt is None:
            self._anchor_ns = learning.start_ns
            return
        self._baseline = Baseline.of_grid(learnt, self._check, self.name)
        if self._on_learnt is not None:
            self._on_learnt(learnt)
        self._calibration = None
        self._closed_ns = end_ns
        self._late_until_ns = end_ns + _LATE_NS
        self.notes.append(calibrated_text(self._baseline, self._read, learning.wanted_s))

    def _alive(self) -> list[Source]:
        return [s for s in Source if self._clock.health(s, self._mono_ns) is Health.ALIVE]

    def _awaited(self, baseline: Baseline, now_ns: int) -> list[Source]:
        """List the sources that a calibration taken here lacks and may still get."""
        if self._late_until_ns is None or now_ns > self._late_until_ns:
            return []
        return [source for source in baseline.unknown_sources if source in self._read]

    def _take_late_sources(self, baseline: Baseline, end_ns: int) -> None:
        """Calibrate late sources by their own first 15 s."""
        awaited = self._awaited(baseline, end_ns)
        if not awaited:
            return
        start_ns = end_ns - BASELINE_STEPS * STEP_NS
        grid = episode_grid(self._rows(), start_ns, BASELINE_STEPS)
        shares = source_shares(grid)
        for source in awaited:
            if shares[source] >= _LATE_SHARE:
                self._baseline = baseline = baseline.with_source(source, grid)
                self.notes.append(f"{source} started late: it is calibrated by its own first 15 s")

    def _close_next(self, anchor_ns: int, baseline: Baseline) -> WindowReport:
        index = self._next_index
        start_ns = anchor_ns + index * STRIDE_NS
        # As in a recording's grid, nothing is known from before window 0.
        n_before = min(self._n_before, index * STRIDE_STEPS)
        seen_ns = start_ns - n_before * STEP_NS
        window = RawWindow(episode_grid(self._rows(), seen_ns, n_before + STEPS))
        outputs = tuple(model.predict(window, baseline) for model in self._models)
        self._next_index += 1
        self._n_windows += 1
        self._closed_ns = start_ns + WINDOW_NS
        self._take_late_sources(baseline, start_ns + WINDOW_NS)
        awaited = self._awaited(baseline, start_ns + WINDOW_NS)
        # Calibrating a late source needs the last 15 s, a window only 10.
        self._trim(start_ns + STRIDE_NS - (STRIDE_NS if awaited else 0))
        return WindowReport(
            window_idx=index,
            t_start_ns=start_ns,
            t_end_ns=start_ns + WINDOW_NS,
            t_s=seconds_between(anchor_ns, start_ns),
            seen=window.seen,
            suspect_baseline=baseline.suspect,
            outputs=outputs,
        )

    def _rows(self) -> dict[Source, Columns]:
        return {source: buffer.columns() for source, buffer in self._buffers.items() if len(buffer)}

    def _trim(self, needed_ns: int) -> None:
        for buffer in self._buffers.values():
            buffer.trim(needed_ns - self._n_before * STEP_NS - _HISTORY_NS)

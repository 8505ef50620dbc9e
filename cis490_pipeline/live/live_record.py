"""Calibration record of a device from its live rows, while it is known to be clean."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from cis490_pipeline.domain import NS_PER_S
from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.errors import CalibrationError
from cis490_pipeline.features.baseline import span_statistics
from cis490_pipeline.features.calibration.record import (
    CalibrationRecord,
    Telemetry,
    channel_baselines,
)
from cis490_pipeline.features.resample import STEP_NS
from cis490_pipeline.features.schema import grid_schema
from cis490_pipeline.live.engine import LiveEngine
from cis490_pipeline.live.feeds.feed import Feed
from cis490_pipeline.live.loading import LoadedModels
from cis490_pipeline.live.outputs.reports import Faults, LiveState
from cis490_pipeline.live.outputs.sinks import Sink
from cis490_pipeline.live.run import run_live


@dataclass
class _Learnt(Sink):
    """Keeps what the engine learnt, and when it was complete."""

    say: Callable[[str], None]
    grid: Float32s | None = None
    end_ns: int = 0
    quarters: set[int] = field(default_factory=set)

    def state(self, state: LiveState, faults: Faults, *, changed: bool) -> None:
        """Report progress at each quarter."""
        if state.baseline is not None and not self.end_ns and state.now_ns is not None:
            self.end_ns = state.now_ns
        if state.calibration_s is None or state.learn_s is None:
            return
        quarter = int(4 * state.calibration_s / state.learn_s)
        if quarter not in self.quarters:
            self.quarters.add(quarter)
            self.say(f"{state.calibration_s:.0f} of {state.learn_s:.0f} s")

    def note(self, text: str) -> None:
        """Pass on what the engine says."""
        if not text.startswith("calibrat"):
            self.say(text)


def record_of_feed(
    feed: Feed,
    loaded: LoadedModels,
    *,
    host_id: str,
    seconds: float,
    say: Callable[[str], None],
    stop: Callable[[], bool] = lambda: False,
) -> CalibrationRecord:
    """Calibrate a device by rows that arrive, or by a recording.

    Parameters
    ----------
    feed : closed at the end.
    loaded : models whose sources the record is for, and the check that judges it.
    seconds : telemetry to take, rounded up to a multiple of 15 s.

    Returns
    -------
    CalibrationRecord
        Labelled clean: to calibrate a device by its live rows is to state that it is.

    Raises
    ------
    CalibrationError
        If the rows end, or it is stopped, before enough was known.
    """
    learnt = _Learnt(say)

    def keep(grid: Float32s) -> None:
        learnt.grid = grid

    engine = LiveEngine(
        loaded.models,
        learn_s=seconds,
        on_learnt=keep,
        check=loaded.check,
        start_ns=feed.start_ns,
        name=feed.name,
        wall_ns=time.time_ns if feed.pace == 1 else None,
    )
    run_live(feed, engine, [learnt], say, stop=lambda: stop() or learnt.grid is not None)
    if learnt.grid is None:
        raise CalibrationError(
            f"{feed.name}: {seconds:g} s of rows were wanted, they ended before; wait longer, "
            "or ask for fewer with --seconds"
        )
    return _record(learnt.grid, learnt.end_ns, host_id, loaded)


def _record(grid: Float32s, end_ns: int, host_id: str, loaded: LoadedModels) -> CalibrationRecord:
    cleanliness = None if loaded.check is None else loaded.check.judge(grid)
    silent = "nothing of guest or netflow was recorded in it"
    content = hashlib.sha256(np.ascontiguousarray(grid, dtype="<f4").tobytes()).hexdigest()
    duration_ns = len(grid) * STEP_NS
    span = Telemetry(
        episode_id="live", content=content, start_ns=end_ns - duration_ns, end_ns=end_ns
    )
    return CalibrationRecord(
        host_id=host_id,
        telemetry=(span,),
        duration_s=duration_ns / NS_PER_S,
        channels=channel_baselines(span_statistics(grid)),
        cleanliness=cleanliness,
        unchecked=None
        if cleanliness is not None
        else (silent if loaded.check is not None else "the models have no check"),
        labelled_clean=True,
        accepted_unclean=False,
        schema=grid_schema().to_dict(),
    )

"""A fitted alarm, replayed over a whole prediction frame."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from cis490_pipeline.alarm.alarm import AlarmSettings
from cis490_pipeline.domain import INFECTED_PHASES, Side
from cis490_pipeline.domain.arrays import Bools
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.detection.fit import (
    ALLOWED_PER_DAY,
    PRIOR_PER_DAY,
    LabelSequences,
    evaluate_candidates,
    replay,
)
from cis490_pipeline.evaluation.detection.windows import alarm_windows
from cis490_pipeline.evaluation.schema.study import FittedAlarm

RULE: Final = (
    "the report's own alarm, transitions from the labels trained on, thresholds from validation: "
    f"the most infections found with at most {ALLOWED_PER_DAY:g} false alarms per clean device-day"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class FilteredAlarm:
    """An alarm, and the labels by which windows are put on their episodes' time.

    Attributes
    ----------
    settings : of the filter and its thresholds.
    truth : ``TRUTH_COLUMNS`` of every episode it may be replayed on.
    n_windows, n_episodes : of validation, which the thresholds were fixed on.
    """

    settings: AlarmSettings
    truth: pl.DataFrame
    n_windows: int
    n_episodes: int

    def fires(self, frame: pl.DataFrame) -> Bools:
        """Whether the alarm stands at the end of each window: (n_windows,) in the frame's order.

        Each episode begins in ``clean``; a window that is missing moves no alarm.

        Raises
        ------
        EvaluationError
            If the labels of an episode are missing.
        """
        if frame.is_empty():
            return np.zeros(0, dtype=np.bool_)
        windows = alarm_windows(frame, self.truth)
        _, stands = replay(windows, self.settings.filter, self.settings)
        fires = np.empty(frame.height, dtype=np.bool_)
        order = frame.with_row_index("row").sort("episode_id", "window_idx")["row"].to_numpy()
        fires[order] = stands[0, windows.present]
        return fires

    def to_dict(self) -> FittedAlarm:
        """Return it as a report carries it."""
        return {
            "threshold": self.settings.threshold,
            "release": self.settings.release,
            "hold_windows": self.settings.hold_windows,
            "n_windows": self.n_windows,
            "n_episodes": self.n_episodes,
            "fitted_on": str(Side.VAL),
            "rule": RULE,
        }


def fit_filtered_alarm(
    val: pl.DataFrame, sequences: LabelSequences, truth: pl.DataFrame
) -> FilteredAlarm:
    """Fix an alarm's thresholds on the predictions of the validation side alone.

    Raises
    ------
    EvaluationError
        If a row is of another side, there is none, or the labels of an episode are missing.
    """
    if strange := sorted(set(val["side"]) - {str(Side.VAL)}):
        raise EvaluationError(f"a threshold is fixed on val alone, got windows of {strange}")
    if val.is_empty():
        raise EvaluationError("no window of val to fix a threshold on")
    trial = evaluate_candidates(alarm_windows(val, truth), sequences, PRIOR_PER_DAY)
    return FilteredAlarm(
        settings=trial.settings(trial.best()),
        truth=truth,
        n_windows=val.height,
        n_episodes=val["episode_id"].n_unique(),
    )


def is_infected() -> pl.Expr:
    """Whether a window of a prediction frame is labelled infecting, infected_running or dormant."""
    return pl.col("y_true").is_in([str(phase) for phase in INFECTED_PHASES])

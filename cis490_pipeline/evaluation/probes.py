"""What a model must beat: guesses that never look at the telemetry.

On a recorded corpus every run follows one plot, and a forest that is told only how long the run
has lasted reaches a macro F1 of .5. A score without that line beside it says little.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import PHASES
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.predictions import prediction_frame

PROBES_VERSION: Final = "2"
"""Raised when a probe is made in another way."""

MAJORITY: Final = "probe_majority"
POSITION: Final = "probe_position"

PROBES: Final = {
    MAJORITY: "always the commonest phase of the training windows",
    POSITION: "a random forest that knows only the time since the episode's start",
}

_N_TREES = 200
_MIN_LEAF = 5
"""With unweighted classes the strongest of six settings by episode on train and validation."""
_MAX_DRAWN = 50_000
"""Windows drawn per tree; one feature is learnt from far fewer."""


def majority_probe(train: pl.DataFrame, scored: pl.DataFrame) -> pl.DataFrame:
    """Give every window the phases' shares of the training windows.

    Parameters
    ----------
    train : training windows, with their ``phase`` (or ``y_true``).
    scored : windows of val and test, with the key columns of ``PREDICTION_COLUMNS``.

    Returns
    -------
    Predictions of exactly the scored windows; the highest share is the commonest phase.

    Raises
    ------
    EvaluationError
        If there is no training window.
    """
    counts = np.bincount(_classes(train), minlength=len(PHASES))
    proba = np.tile(counts / counts.sum(), (scored.height, 1))
    return prediction_frame(scored, proba)


def position_probe(train: pl.DataFrame, scored: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """Predict the phase from the time since the episode's start and from nothing else.

    Parameters
    ----------
    train : training windows, with ``window_idx`` and ``phase`` (or ``y_true``).
    scored : windows of val and test, with the key columns of ``PREDICTION_COLUMNS``.
    seed : of the forest.

    Returns
    -------
    Predictions of exactly the scored windows.

    Raises
    ------
    EvaluationError
        If there is no training window.
    """
    from sklearn.ensemble import RandomForestClassifier

    y = _classes(train)
    forest = RandomForestClassifier(
        n_estimators=_N_TREES,
        min_samples_leaf=_MIN_LEAF,
        max_samples=_MAX_DRAWN if y.size > _MAX_DRAWN else None,
        random_state=seed,
    ).fit(_elapsed(train), y)
    proba = np.zeros((scored.height, len(PHASES)))
    if scored.height:
        proba[:, forest.classes_] = forest.predict_proba(_elapsed(scored))
    return prediction_frame(scored, proba)


def _elapsed(windows: pl.DataFrame) -> npt.NDArray[np.float64]:
    # Windows start every 5 s from the first label on: the index is the time since the start.
    return windows["window_idx"].to_numpy().astype(np.float64).reshape(-1, 1)


def _classes(windows: pl.DataFrame) -> npt.NDArray[np.int64]:
    if not windows.height:
        raise EvaluationError("a probe learns from training windows, and there are none")
    column = "phase" if "phase" in windows.columns else "y_true"
    index = {str(phase): k for k, phase in enumerate(PHASES)}
    return np.array([index[phase] for phase in windows[column]], dtype=np.int64)

"""Probes: baselines that see nothing, or a single shortcut, of the telemetry.

On a recorded corpus every run follows one plot, and a forest that knows only how long the run
has lasted reaches a macro F1 of .5. A score without that line beside it says little. Which probes
there are follows the shortcuts that Arp et al. name as the field's commonest faults ("Dos and
Don'ts of Machine Learning in Computer Security", USENIX Security 2022: spurious correlations).
"""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import PHASES
from cis490_pipeline.domain.arrays import class_indices
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.predictions import prediction_frame

PROBES_VERSION: Final = "3"
"""Raised when a probe is made in another way."""

MAJORITY: Final = "probe_majority"
POSITION: Final = "probe_position"
MISSINGNESS: Final = "probe_missingness"
ZEROS: Final = "probe_zeros"
THRESHOLD: Final = "probe_threshold"
DRIFTING: Final = "probe_drifting_gauges"
WITHOUT_DRIFTING: Final = "probe_without_drifting"

PROBES: Final = {
    MAJORITY: "always the commonest phase of the training windows",
    POSITION: "a random forest that knows only the time since the episode's start",
    MISSINGNESS: "extra trees that know only which share of each channel was recorded",
    ZEROS: "extra trees that know only which share was recorded, and which of it is exactly zero",
    THRESHOLD: "one or two thresholds on one statistic of one channel",
    DRIFTING: "extra trees that see only the gauges that drift with uptime: memory and load",
    WITHOUT_DRIFTING: "the same extra trees on everything but the gauges that drift",
}

CONTROLS: Final = frozenset({WITHOUT_DRIFTING})
"""Probes that see real signal: what is left once a shortcut is taken away, and no shortcut."""

N_EXTRA_TREES: Final = 200
_EXTRA_MIN_LEAF = 2
"""With classes weighted alike the strongest of four settings, on average over validation of three
splits."""

_N_TREES = 200
_MIN_LEAF = 5
"""With unweighted classes the strongest of six settings by episode on train and validation."""
_MAX_DRAWN = 50_000
"""Windows drawn per tree; one feature is learnt from far fewer."""


def majority_probe(train: pl.DataFrame, scored: pl.DataFrame) -> pl.DataFrame:
    """Give every scored window the phases' shares of the training windows."""
    counts = np.bincount(training_classes(train), minlength=len(PHASES))
    proba = np.tile(counts / counts.sum(), (scored.height, 1))
    return prediction_frame(scored, proba)


def position_probe(train: pl.DataFrame, scored: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """Predict the phase from the time since the episode's start and from nothing else."""
    from sklearn.ensemble import RandomForestClassifier

    y = training_classes(train)
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


def trees_probe(
    X_train: npt.NDArray[np.float32],
    train: pl.DataFrame,
    X_scored: Iterable[npt.NDArray[np.float32]],
    scored: pl.DataFrame,
    *,
    seed: int,
) -> pl.DataFrame:
    """Predict the phase by extremely randomized trees from the columns a probe may see.

    Parameters
    ----------
    X_train : (n_train, n_columns); NaN is unknown, and goes where a split sends it.
    X_scored : the scored windows' columns, batch after batch: (n_batch, n_columns).

    Notes
    -----
    Geurts, Ernst and Wehenkel, "Extremely randomized trees", Machine Learning 63 (2006): 200 trees,
    two windows in a leaf at least, classes weighted by their inverse frequency.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    y = training_classes(train)
    trees = ExtraTreesClassifier(
        n_estimators=N_EXTRA_TREES,
        min_samples_leaf=_EXTRA_MIN_LEAF,
        class_weight="balanced",
        random_state=seed,
    ).fit(X_train, y)
    parts = [_every_phase(trees, X) for X in X_scored if len(X)]
    proba = np.concatenate(parts) if parts else np.zeros((0, len(PHASES)))
    return prediction_frame(scored, proba)


def _every_phase(trees: Any, X: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    proba = np.zeros((len(X), len(PHASES)))
    proba[:, trees.classes_] = trees.predict_proba(X)
    return proba


def _elapsed(windows: pl.DataFrame) -> npt.NDArray[np.float64]:
    # Windows start every 5 s from the first label on: the index is the time since the start.
    return windows["window_idx"].to_numpy().astype(np.float64).reshape(-1, 1)


def training_classes(windows: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Class index of each training window, (n_windows,); EvaluationError if there is none."""
    if not windows.height:
        raise EvaluationError("a probe learns from training windows, and there are none")
    column = "phase" if "phase" in windows.columns else "y_true"
    return class_indices(windows[column])

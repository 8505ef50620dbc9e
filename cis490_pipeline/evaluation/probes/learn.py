"""Probes: baselines that see nothing, or a single shortcut, of the telemetry.

On a recorded corpus every run follows one plot, and a forest that knows only how long the run
has lasted reaches a macro F1 of .5. A score without that line beside it says little. Which probes
there are follows the shortcuts that Arp et al. name as the field's commonest faults ("Dos and
Don'ts of Machine Learning in Computer Security", USENIX Security 2022: spurious correlations).
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import PHASES
from cis490_pipeline.domain.arrays import class_indices
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.confusion import confusion, macro_f1
from cis490_pipeline.evaluation.predictions import prediction_frame

PROBES_VERSION: Final = "4"
"""Raised when a probe is made in another way."""

MAJORITY: Final = "probe_majority"
POSITION: Final = "probe_position"
MISSINGNESS: Final = "probe_missingness"
ZEROS: Final = "probe_zeros"
THRESHOLD: Final = "probe_threshold"
DRIFTING: Final = "probe_drifting_gauges"
GAUGES_HISTORY: Final = "probe_gauges_history"
WITHOUT_DRIFTING: Final = "probe_without_drifting"

PROBES: Final = {
    MAJORITY: "always the commonest phase of the training windows",
    POSITION: "a random forest that knows only the time since the episode's start",
    MISSINGNESS: "extra trees that know only which share of each channel was recorded",
    ZEROS: "extra trees that know only which share was recorded, and which of it is exactly zero",
    THRESHOLD: "one or two thresholds on one statistic of one channel",
    DRIFTING: "extra trees that see only the gauges that drift with uptime: memory and load",
    GAUGES_HISTORY: "the better of two forests that see the same gauges in linear units, and what "
    "they were up to 20 s before",
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
    y = training_classes(train)
    forest = _random_forest(seed, y.size).fit(_elapsed(train), y)
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
    trees = _extra_trees(seed).fit(X_train, training_classes(train))
    return prediction_frame(scored, _probabilities([trees], X_scored)[0])


def better_forest_probe(
    X_train: npt.NDArray[np.float32],
    train: pl.DataFrame,
    X_val: Iterable[npt.NDArray[np.float32]],
    X_test: Iterable[npt.NDArray[np.float32]],
    scored: pl.DataFrame,
    *,
    seed: int,
) -> tuple[pl.DataFrame, str]:
    """Predict the phase by extremely randomized trees or a random forest, as validation chooses.

    Parameters
    ----------
    X_train, X_val, X_test : columns, as of ``trees_probe``; val and test batch after batch.
    scored : the windows of val, then those of test.

    Returns
    -------
    Predictions of the forest with the higher macro F1 on val, the trees on a tie or without val;
    and which it is, with both scores. Both are fitted on train; the other never sees test.
    """
    y = training_classes(train)
    forests = {
        "extremely randomized trees": _extra_trees(seed),
        "random forest": _random_forest(seed, y.size, class_weight="balanced"),
    }
    for forest in forests.values():
        forest.fit(X_train, y)
    val = dict(zip(forests, _probabilities(list(forests.values()), X_val), strict=True))
    scores = {name: _macro_f1(scored, proba) for name, proba in val.items()}
    chosen = max(scores, key=lambda name: np.nan_to_num(scores[name]))
    (test,) = _probabilities([forests[chosen]], X_test)
    each = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
    detail = f"{chosen}, by macro F1 on validation: {each}"
    return prediction_frame(scored, np.concatenate([val[chosen], test])), detail


def _macro_f1(windows: pl.DataFrame, proba: npt.NDArray[np.float64]) -> float:
    """Macro F1 of the first windows; NaN without any."""
    return macro_f1(confusion(_classes(windows[: len(proba)]), proba.argmax(axis=1)))


def _extra_trees(seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(
        n_estimators=N_EXTRA_TREES,
        min_samples_leaf=_EXTRA_MIN_LEAF,
        class_weight="balanced",
        random_state=seed,
    )


def _random_forest(seed: int, n_windows: int, class_weight: str | None = None) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(
        n_estimators=_N_TREES,
        min_samples_leaf=_MIN_LEAF,
        max_samples=_MAX_DRAWN if n_windows > _MAX_DRAWN else None,
        class_weight=class_weight,
        random_state=seed,
    )


def _probabilities(
    forests: Sequence[Any], X: Iterable[npt.NDArray[np.float32]]
) -> list[npt.NDArray[np.float64]]:
    """(n, K) probabilities by each forest, of batches that are read once."""
    none = np.zeros((0, len(PHASES)))
    parts = [[_every_phase(forest, batch) for forest in forests] for batch in X if len(batch)]
    return [np.concatenate([none, *of]) for of in zip(*parts, strict=True)] or [none] * len(forests)


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
    return _classes(windows)


def _classes(windows: pl.DataFrame) -> npt.NDArray[np.int64]:
    return class_indices(windows["phase" if "phase" in windows.columns else "y_true"])

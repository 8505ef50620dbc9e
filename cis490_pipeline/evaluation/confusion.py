"""Metrics from confusion matrices: every score of a report is a function of counts.

Matrices are (true, predicted) in the order of ``PHASES``. Axes in front of the last two are free,
so that ten thousand resamples are scored in one call.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import PHASES
from cis490_pipeline.domain.arrays import Floats, Ints
from cis490_pipeline.errors import EvaluationError

N_CLASSES = len(PHASES)


def confusion(
    y_true_idx: npt.ArrayLike, y_pred_idx: npt.ArrayLike, n_classes: int = N_CLASSES
) -> Ints:
    """(K, K) windows of true class i predicted as j, from (n_windows,) class indices.

    Raises
    ------
    EvaluationError
        If the lengths differ or an index is no class.
    """
    groups = np.zeros(np.size(y_true_idx), dtype=np.int64)
    stacked = _grouped(y_true_idx, y_pred_idx, groups, n_groups=1, n_classes=n_classes)
    return stacked.reshape(n_classes, n_classes)


@dataclass(frozen=True, kw_only=True)
class EpisodeMatrices:
    """One confusion matrix per episode; the unit that intervals and tests resample."""

    episode_ids: npt.NDArray[np.str_]
    """(E,) sorted ids."""
    counts: Ints
    """(E, K, K) windows by true and predicted class."""

    @property
    def pooled(self) -> Ints:
        """(K, K) counts over all episodes."""
        total: Ints = self.counts.sum(axis=0)
        return total

    @property
    def n_windows(self) -> int:
        """Windows over all episodes."""
        return int(self.counts.sum())


def episode_confusions(
    y_true_idx: npt.ArrayLike,
    y_pred_idx: npt.ArrayLike,
    episode_ids: npt.ArrayLike,
    n_classes: int = N_CLASSES,
) -> EpisodeMatrices:
    """Confusion matrix of each episode, (E, K, K), in the sorted order of the episode ids.

    Parameters
    ----------
    y_true_idx, y_pred_idx : (n_windows,) class indices.
    episode_ids : (n_windows,) the episode of each window.

    Raises
    ------
    EvaluationError
        If the lengths differ or an index is no class.
    """
    ids, groups = np.unique(np.asarray(episode_ids, dtype=np.str_), return_inverse=True)
    counts = _grouped(y_true_idx, y_pred_idx, groups, n_groups=ids.size, n_classes=n_classes)
    return EpisodeMatrices(episode_ids=ids, counts=counts)


def _grouped(
    y_true_idx: npt.ArrayLike,
    y_pred_idx: npt.ArrayLike,
    groups: npt.NDArray[np.int64],
    *,
    n_groups: int,
    n_classes: int,
) -> Ints:
    y_true = np.asarray(y_true_idx, dtype=np.int64)
    y_pred = np.asarray(y_pred_idx, dtype=np.int64)
    if not y_true.shape == y_pred.shape == groups.shape:
        raise EvaluationError(
            f"one truth, one prediction and one episode per window are needed, got "
            f"{y_true.size} truths, {y_pred.size} predictions, {groups.size} episodes"
        )
    for name, y in (("true", y_true), ("predicted", y_pred)):
        wrong = np.flatnonzero((y < 0) | (y >= n_classes))
        if wrong.size:
            raise EvaluationError(
                f"window {wrong[0]} has the {name} class {y[wrong[0]]}, "
                f"but classes are 0 to {n_classes - 1} ({wrong.size} such windows)"
            )
    cells = (groups * n_classes + y_true) * n_classes + y_pred
    size = n_groups * n_classes * n_classes
    return np.bincount(cells, minlength=size).reshape(n_groups, n_classes, n_classes)


def seen_classes(matrix: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which classes occur in truth or prediction, (..., K, K) -> (..., K): a macro average's."""
    counts = np.asarray(matrix)
    seen: npt.NDArray[np.bool_] = (counts.sum(axis=-1) + counts.sum(axis=-2)) > 0
    return seen


def class_f1(matrix: npt.ArrayLike) -> Floats:
    """F1 of each class of (weighted) counts, (..., K, K) -> (..., K); 0 where it never occurs."""
    counts = np.asarray(matrix)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    return _ratio(2 * hits, counts.sum(axis=-1) + counts.sum(axis=-2))


def macro_f1(matrix: npt.ArrayLike) -> float:
    """Mean F1 over the classes seen in truth or prediction of (K, K) counts; NaN of no window.

    Equals scikit-learn's ``f1_score(average="macro", zero_division=0)`` to the last bit. A fixed
    label set with ``zero_division=1`` would credit a model for classes that do not occur.

    Examples
    --------
    >>> macro_f1([[2, 0, 0], [1, 1, 0], [0, 0, 0]])
    0.7333333333333334
    """
    scores = class_f1(matrix)[seen_classes(matrix)]
    return float(scores.mean()) if scores.size else float("nan")


def macro_f1_over(matrices: npt.ArrayLike, labels: npt.NDArray[np.bool_]) -> Floats:
    """Macro F1 over a label set fixed beforehand: (..., K, K) counts and (K,) labels -> (...).

    A resample may miss a class altogether; averaging over what it happened to see would then
    compare scores over different classes.
    """
    mean: Floats = np.asarray(class_f1(matrices)[..., labels].mean(axis=-1))
    return mean


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """Scores of each class, all (K,) in the order of the matrix; NaN where undefined."""

    precision: Floats
    recall: Floats
    f1: Floats
    support: Ints
    """Windows whose true class it is."""
    predicted: Ints
    """Windows predicted as it."""


def class_scores(matrix: npt.ArrayLike) -> ClassScores:
    """Precision, recall, F1 and support of each class of (K, K) counts.

    A class without true windows has no recall, one never predicted no precision, and one with
    neither no F1: these are NaN, to be shown as n/a and never averaged.
    """
    counts = np.asarray(matrix, dtype=np.int64)
    hits = np.diagonal(counts)
    support, predicted = counts.sum(axis=1), counts.sum(axis=0)
    return ClassScores(
        precision=np.where(predicted > 0, _ratio(hits, predicted), np.nan),
        recall=np.where(support > 0, _ratio(hits, support), np.nan),
        f1=np.where(support + predicted > 0, class_f1(counts), np.nan),
        support=support,
        predicted=predicted,
    )


def accuracy(matrix: npt.ArrayLike) -> float:
    """Share of windows predicted right; NaN without any window."""
    counts = np.asarray(matrix)
    total = counts.sum()
    return float(np.trace(counts) / total) if total else float("nan")


def balanced_accuracy(matrix: npt.ArrayLike) -> float:
    """Mean recall over the classes that have true windows; NaN without any window."""
    recall = class_scores(matrix).recall
    defined = recall[~np.isnan(recall)]
    return float(defined.mean()) if defined.size else float("nan")


def matthews(matrix: npt.ArrayLike) -> float:
    """Multiclass Matthews correlation (Gorodkin's R_K) of (K, K) counts, −1…1.

    0 where truth or prediction is constant; NaN without any window.
    """
    counts = np.asarray(matrix, dtype=np.float64)
    total = counts.sum()
    if not total:
        return float("nan")
    truth, predicted = counts.sum(axis=1), counts.sum(axis=0)
    covariance = np.trace(counts) * total - truth @ predicted
    spread = (total**2 - truth @ truth) * (total**2 - predicted @ predicted)
    return float(covariance / np.sqrt(spread)) if spread > 0 else 0.0


def _ratio(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> Floats:
    zero = np.zeros(np.shape(whole), dtype=np.float64)
    return np.divide(part, whole, out=zero, where=np.asarray(whole) > 0)

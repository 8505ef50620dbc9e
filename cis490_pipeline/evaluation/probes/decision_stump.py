"""Decision stump: the best one or two thresholds on one statistic of one channel.

A decision stump in the sense of Holte ("Very simple classification rules perform well on most
commonly used datasets", Machine Learning 11, 1993), for five phases: one or two cuts part the line
into two or three stretches, and each stretch stands for one phase.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import PHASES
from cis490_pipeline.domain.arrays import Float32s, Floats
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.predictions import prediction_frame

N_CUTS: Final = 20
"""Cuts tried per statistic, at equally spaced quantiles of train."""

_N = len(PHASES)
_SEGMENTS = 3
_CHOICES: Final = np.array(list(product(range(_N), repeat=_SEGMENTS)))
_ONE_HOT: Final = np.eye(_N)[_CHOICES]
"""(125, 3, 5): which phase each of the three stretches stands for."""


@dataclass(frozen=True, eq=False)
class Threshold:
    """One statistic, its cuts ``low <= high``, and what the stretches between them stand for.

    Attributes
    ----------
    column : place of the statistic among the columns it was chosen from.
    classes : (4,) class index of x ≤ low, of low < x ≤ high, of x > high, and of unknown x.
    shares : (4, 5) share of each phase among the training windows there.
    train_macro_f1 : what it was chosen by.
    """

    column: int
    name: str
    low: float
    high: float
    classes: npt.NDArray[np.int64]
    shares: Floats
    train_macro_f1: float

    def predict(self, x: Float32s) -> Floats:
        """Probabilities from the statistic's values, NaN where unknown: (n,) -> (n, 5).

        Half of the weight is the stretch's own phase, the other half its shares in train. So the
        highest probability is always the phase that the stretch stands for.
        """
        segment = np.where(
            np.isnan(x), _SEGMENTS, (x > self.low).astype(np.int64) + (x > self.high)
        )
        of_segment = (np.eye(_N)[self.classes] + self.shares) / 2
        proba: Floats = of_segment[segment]
        return proba

    def __str__(self) -> str:
        """Describe cuts and phases in words."""
        below, between, above, unknown = (str(PHASES[k]) for k in self.classes)
        middle = f", {between} up to {self.high:.4g}" if self.high > self.low else ""
        return (
            f"{self.name}: {below} up to {self.low:.4g}{middle}, {above} beyond; "
            f"{unknown} where unknown"
        )


def fit_threshold(X: Float32s, y: npt.NDArray[np.int64], names: Sequence[str]) -> Threshold:
    """Choose statistic, cuts and phases by macro F1 on the training windows.

    The best of all columns, of at most 20 cuts and their pairs, and of all ways to name the
    stretches; the first on a tie.

    Parameters
    ----------
    X : (n_windows, n_columns); NaN is unknown, and stands for the phase commonest among the
        training windows where it is.
    y : (n_windows,) class index.

    Raises
    ------
    EvaluationError
        If there is no training window, or no statistic that varies.
    """
    if not y.size:
        raise EvaluationError("a probe learns from training windows, and there are none")
    best: Threshold | None = None
    for column, name in enumerate(names):
        found = _best_of(X[:, column].astype(np.float64), y, column, name)
        if found is not None and (best is None or found.train_macro_f1 > best.train_macro_f1):
            best = found
    if best is None:
        raise EvaluationError(f"none of {len(names)} statistics varies over the training windows")
    return best


def threshold_probe(
    fitted: Threshold, X_scored: Iterable[Float32s], scored: pl.DataFrame
) -> pl.DataFrame:
    """Predict the scored windows, batch after batch of all columns; as ``trees_probe`` does."""
    parts = [fitted.predict(X[:, fitted.column]) for X in X_scored if len(X)]
    return prediction_frame(scored, np.concatenate(parts) if parts else np.zeros((0, _N)))


def _best_of(x: Floats, y: npt.NDArray[np.int64], column: int, name: str) -> Threshold | None:
    known = ~np.isnan(x)
    if not known.any():
        return None
    quantiles = np.quantile(x[known], np.linspace(0, 1, N_CUTS + 2)[1:-1], method="lower")
    cuts = np.unique(quantiles)
    cuts = cuts[cuts < x[known].max()]
    if not cuts.size:
        return None
    counts = np.zeros((cuts.size + 1, _N))
    np.add.at(counts, (np.searchsorted(cuts, x[known], side="left"), y[known]), 1)
    unknown = np.bincount(y[~known], minlength=_N).astype(np.float64)
    support = counts.sum(axis=0) + unknown
    of_unknown = int((unknown if unknown.any() else support).argmax())
    at_most = np.cumsum(counts, axis=0)
    low, high = np.triu_indices(cuts.size)
    # (pairs, 3, 5): training windows of each phase in each of the three stretches.
    held = np.stack(
        [at_most[low], at_most[high] - at_most[low], at_most[-1] - at_most[high]], axis=1
    )
    hits = np.einsum("psk,csk->pck", held, _ONE_HOT)
    predicted = np.einsum("ps,csk->pck", held.sum(axis=2), _ONE_HOT)
    hits[..., of_unknown] += unknown[of_unknown]
    predicted[..., of_unknown] += unknown.sum()
    total = support + predicted
    f1 = np.divide(2 * hits, total, out=np.zeros_like(total), where=total > 0)
    macro = f1.sum(axis=2) / np.maximum((total > 0).sum(axis=2), 1)
    pair, choice = np.unravel_index(int(macro.argmax()), macro.shape)
    chosen = np.append(_CHOICES[choice], of_unknown)
    held_there = np.vstack([held[pair], unknown])
    shares = (held_there + 1) / (held_there + 1).sum(axis=1, keepdims=True)
    ends = float(cuts[low[pair]]), float(cuts[high[pair]])
    return Threshold(column, name, *ends, chosen, shares, float(macro[pair, choice]))

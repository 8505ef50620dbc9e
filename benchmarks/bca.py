"""Intervals that reports do not print: percentiles and BCa at any number of episodes."""

from typing import Final, Literal

import numpy as np
import scipy

from cis490_pipeline.domain.arrays import Floats, Ints
from cis490_pipeline.evaluation.confusion import macro_f1_over, seen_classes
from cis490_pipeline.evaluation.uncertainty.intervals import resampled_macro_f1

Method = Literal["percentile", "bca"]

_SAME: Final = 1e-12
"""Leaving out an episode moves a macro F1 by more than rounding, or not at all."""


def macro_f1_ends(
    matrices: Ints, method: Method, *, seed: int, n_resamples: int, level: float = 0.95
) -> tuple[float, float]:
    """Low and high end of a macro F1, from the draws that ``episode_interval`` makes.

    Parameters
    ----------
    matrices : (E, K, K) one confusion matrix per episode.
    method : where BCa is undefined the percentiles stand.
    seed, n_resamples, level : as of ``episode_interval``.
    """
    pooled = matrices.sum(axis=0)
    labels = seen_classes(pooled)
    resamples = resampled_macro_f1(matrices, labels, np.random.default_rng(seed), n_resamples)
    if method == "bca":
        left_out = macro_f1_over(pooled - matrices, labels)
        ends = bca_ends(resamples, float(macro_f1_over(pooled, labels)), left_out, level)
        if not isinstance(ends, str):
            return ends
    tail = (1 - level) / 2
    low, high = np.quantile(resamples, (tail, 1 - tail))
    return float(low), float(high)


def bca_ends(
    resamples: Floats, estimate: float, left_out: Floats, level: float
) -> tuple[float, float] | str:
    """Percentiles of the resamples, shifted by their bias and by how the spread changes.

    Parameters
    ----------
    resamples : (B,) the statistic in each resample.
    estimate : the statistic itself.
    left_out : (E,) the statistic without each episode in turn (the jackknife).
    level : share of repetitions that should cover the truth, 0 to 1.

    Returns
    -------
    Low and high end; or, where they are undefined, the reason in words.

    Notes
    -----
    Efron, Better bootstrap confidence intervals, JASA 82 (1987). Equals
    ``scipy.stats.bootstrap(method="BCa")`` on the same draws.

    Examples
    --------
    Without bias and with equal influence of all episodes these are the plain percentiles.

    >>> resamples = np.linspace(0.0, 1.0, 1001)
    >>> low, high = bca_ends(resamples, 0.5, np.array([0.4, 0.5, 0.6]), 0.95)
    >>> round(low, 3), round(high, 3)
    (0.025, 0.975)
    """
    below = np.count_nonzero(resamples < estimate) + np.count_nonzero(resamples <= estimate)
    share = below / (2 * resamples.size)
    if not 0 < share < 1:
        return "all resamples lie on one side of the estimate"
    influence = (left_out.size - 1) * (left_out.mean() - left_out)
    spread = float(np.square(influence).sum())
    if spread <= _SAME:
        return "no episode changes the score when it is left out"
    acceleration = float((influence**3).sum()) / (6 * spread**1.5)
    bias, tail = float(scipy.special.ndtri(share)), float(scipy.special.ndtri((1 - level) / 2))
    shares = []
    for quantile in (tail, -tail):
        room = 1 - acceleration * (bias + quantile)
        if room <= 0:
            return "the acceleration is too strong for this level"
        shares.append(float(scipy.special.ndtr(bias + (bias + quantile) / room)))
    low, high = np.percentile(resamples, [100 * share for share in shares])
    return float(low), float(high)

"""The bias-corrected and accelerated (BCa) bootstrap interval."""

from typing import Final

import numpy as np
import scipy

from cis490_pipeline.evaluation.confusion import Floats

_SAME: Final = 1e-12
"""Leaving out an episode moves a macro F1 by more than rounding, or not at all."""


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

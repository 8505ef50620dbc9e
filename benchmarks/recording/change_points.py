"""Detector of one change in a rate, fixed before any recording was looked at.

For the n steps within 5 s of a time, the split k that maximises
``|mean(r[:k]) − mean(r[k:])| · sqrt(k (n − k) / n)``, where r are the ranks of the rate: over all
splits, the largest standardised Mann–Whitney statistic. It is the maximum-likelihood split of one
change of mean (Hinkley, Biometrika 57, 1970; the cost L2 of Truong et al., Signal Processing 167,
2020), on ranks, as Pettitt (Applied Statistics 28, 1979) proposed. Each side holds at least 1 s.

Chosen on made-up steps, before any recording: of raw rates, their square roots, their logarithms
and ranks, all find a step in CPU or packets to .25 s, and ranks come nearest to the step in lumpy
writes: 95 % within .9 s, where raw rates miss by seconds.

Pettitt's own statistic lacks the factor, and in noise it finds the middle more often than chance:
32 % within 1 s of it, where uniform is 25 %. This one prefers the ends (12 %), so it does not find
a label because the label is in the middle. The tests keep this.
"""

from typing import Final

import numpy as np
from scipy.stats import rankdata

from cis490_pipeline.domain import NS_PER_S
from cis490_pipeline.domain.arrays import Floats, Ints

HALF_WIDTH_S: Final = 5.0
SHORTEST_SIDE: Final = 10
"""Steps of 100 ms that each side of a split holds at least."""
LEAST_SHARE: Final = 0.8
"""Share of the window's steps that must be recorded."""
STEP_S: Final = 0.1


def change_offset_s(t_ns: Ints, rate: Floats, at_ns: int) -> float:
    """Time of the most pronounced change around a time, seconds from it.

    Parameters
    ----------
    t_ns : (n,) ends of the steps, Unix ns, ascending.
    rate : (n,) rate over each step.
    at_ns : centre of the window.

    Returns
    -------
    From −4 to 4; NaN where the window is not recorded or nothing in it varies.
    """
    half_ns = round(HALF_WIDTH_S * NS_PER_S)
    inside = (t_ns > at_ns - half_ns) & (t_ns <= at_ns + half_ns)
    x, ends_ns = rate[inside], t_ns[inside]
    n = len(x)
    if n < LEAST_SHARE * 2 * HALF_WIDTH_S / STEP_S or not np.isfinite(x).all() or not np.ptp(x):
        return float("nan")
    ranks = rankdata(x)
    k = np.arange(SHORTEST_SIDE, n - SHORTEST_SIDE + 1)
    before = np.cumsum(ranks)[k - 1]
    gap = np.abs(before / k - (ranks.sum() - before) / (n - k))
    split = k[np.argmax(gap * np.sqrt(k * (n - k) / n))]
    return float(ends_ns[split - 1] - at_ns) / NS_PER_S


def times_away(
    rng: np.random.Generator, begin_ns: int, end_ns: int, labels_ns: Ints, n: int
) -> Ints:
    """Draw times of a recording whose windows hold no label.

    Parameters
    ----------
    begin_ns, end_ns : the recording.
    labels_ns : times of its labels.
    n : how many to draw.

    Returns
    -------
    (n,) Unix ns, uniform over the allowed stretches; empty if there is none.
    """
    half_ns = round(HALF_WIDTH_S * NS_PER_S)
    inner = [t for t in labels_ns.tolist() if begin_ns < t < end_ns]
    edges = np.array(sorted({begin_ns, *inner, end_ns}))
    low, room = edges[:-1] + half_ns, np.diff(edges) - 2 * half_ns
    low, room = low[room > 0], room[room > 0]
    if not room.size:
        return np.zeros(0, dtype=np.int64)
    stretch = rng.choice(room.size, size=n, p=room / room.sum())
    drawn: Ints = low[stretch] + rng.integers(room[stretch])
    return drawn

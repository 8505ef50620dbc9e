"""Permutation test for a shift of a device's channels, with one error rate over all of them.

Windows of an episode are alike, so episodes are what is permuted, never windows. Only episodes of
one profile are exchanged: a night on which other profiles ran has not drifted for that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain.arrays import Bools, Floats
from cis490_pipeline.features.stress.population_stability import THRESHOLD, DriftReference, psi

N_PERMUTATIONS: Final = 1999
_PER_CHUNK: Final = 250
"""Permutations whose histograms are in memory at once."""


@dataclass(frozen=True, eq=False)
class ShiftTest:
    """Shift of each channel between two sets of episodes.

    Attributes
    ----------
    channels : (C,) names.
    psi : (C,) population stability index; NaN where there is no value to compare.
    p : (C,) probability, under exchangeable episodes, that *any* channel deviates as much.
    """

    channels: tuple[str, ...]
    psi: Floats
    p: Floats

    @property
    def largest(self) -> float | None:
        """Largest index of any channel; None if there is no value to compare."""
        known = self.psi[np.isfinite(self.psi)]
        return float(known.max()) if known.size else None

    def shifted(self, alpha: float) -> list[tuple[str, float]]:
        """Channels over .25 and significant at ``alpha`` over all of them, largest index first."""
        names = [
            (name, float(index))
            for name, index, p in zip(self.channels, self.psi, self.p, strict=True)
            if index > THRESHOLD and p <= alpha
        ]
        return sorted(names, key=lambda channel: (-channel[1], channel[0]))


def shift_test(
    channels: Sequence[str],
    earlier: Sequence[npt.NDArray[np.floating]],
    new: Sequence[npt.NDArray[np.floating]],
    strata: Sequence[str],
    *,
    seed: int,
    n_permutations: int = N_PERMUTATIONS,
) -> ShiftTest:
    """Test whether new episodes are distributed as earlier ones.

    Parameters
    ----------
    earlier, new : (n_windows, C) window values of each episode; NaN is unknown.
    strata : profile of each episode, the earlier ones first; only within one are they exchanged.

    Notes
    -----
    Single-step maxT (Westfall and Young, 1993): each channel's index is divided by its mean over
    the permutations, and p is the share of permutations, the observed one included, whose largest
    quotient reaches the channel's own. That holds the probability of any false alarm, however the
    channels depend on each other. Bins are deciles of all episodes: those of one set would not
    treat both alike.

    Raises
    ------
    DatasetError
        If there is no window, or the number of channels differs.
    """
    reference = DriftReference.fit(channels, [*earlier, *new])
    shape = reference.counts.shape[1:]
    counts = reference.counts.reshape(len(reference.counts), -1).astype(np.float64)
    total = counts.sum(axis=0)
    is_new = np.arange(len(counts)) >= len(earlier)

    def indices(chosen: Bools) -> Floats:
        of_new = chosen.astype(np.float64) @ counts
        n = len(chosen)
        return psi((total - of_new).reshape(n, *shape), of_new.reshape(n, *shape))

    rng = np.random.default_rng(seed)
    observed = indices(is_new[None])
    parts = [observed]
    for start in range(0, n_permutations, _PER_CHUNK):
        n = min(_PER_CHUNK, n_permutations - start)
        parts.append(indices(_permuted(is_new, np.asarray(strata), n, rng)))
    every = np.concatenate(parts)
    scale = every.mean(axis=0)
    # A channel that is constant has index 0 in every permutation.
    quotients = np.divide(every, scale, out=np.zeros_like(every), where=scale > 0)
    largest = quotients.max(axis=1)
    p = (largest[:, None] >= quotients[0]).mean(axis=0)
    return ShiftTest(tuple(channels), observed[0], p)


def _permuted(
    is_new: Bools, strata: npt.NDArray[np.str_], n: int, rng: np.random.Generator
) -> Bools:
    """Draw (n, E) assignments to the new set, with as many of each stratum as there are."""
    chosen = np.zeros((n, len(is_new)), dtype=np.bool_)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        n_new = int(is_new[members].sum())
        ranks = rng.random((n, len(members))).argsort(axis=1)
        chosen[:, members] = ranks < n_new
    return chosen

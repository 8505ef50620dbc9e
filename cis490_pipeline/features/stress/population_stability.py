"""Covariate drift between new episodes and training, by channel.

The population stability index compares two histograms over deciles of the reference. Windows of one
episode are correlated, so two small sets of episodes differ even without drift; ``chance_95`` is
the 95th percentile of that difference under permutation.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self, TypedDict

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain.arrays import Floats, Ints
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.windows import BASELINE_STEPS, cut_windows, window_starts

N_BINS: Final = 10
THRESHOLD: Final = 0.25
"""Threshold for flagging; by convention, below .1 is no shift and .1 to .25 a moderate one."""
PSEUDO_COUNT: Final = 0.5
"""Added to each bin, so that the index stays finite for empty bins."""
N_PERMUTATIONS: Final = 500


class ChannelDrift(TypedDict):
    """Drift of one channel; null where there is no value to compare."""

    channel: str
    psi: float | None
    flagged: bool | None
    chance_95: float | None
    beyond_chance: bool | None
    why: str | None


class SavedReference(TypedDict):
    """A ``DriftReference`` as JSON values."""

    channels: list[str]
    edges: list[list[float] | None]
    counts: list[list[list[int]]]


def psi(reference: npt.ArrayLike, new: npt.ArrayLike) -> Floats:
    """Compute the population stability index of histograms (..., B): Σ (q − p) · ln(q / p).

    NaN if one of the two is empty, else non-negative.

    Notes
    -----
    Equals Jeffreys' divergence; name and thresholds come from credit scoring (Siddiqi, 2006).
    p = (count + ½) / (n + B / 2) keeps the index finite for bins empty on one side.

    Examples
    --------
    >>> float(psi([10, 10], [10, 10]))
    0.0
    """
    counts = [np.asarray(side, dtype=np.float64) for side in (reference, new)]
    totals = [side.sum(axis=-1, keepdims=True) for side in counts]
    p, q = (
        (side + PSEUDO_COUNT) / (total + PSEUDO_COUNT * side.shape[-1])
        for side, total in zip(counts, totals, strict=True)
    )
    index: Floats = ((q - p) * np.log(q / p)).sum(axis=-1)
    empty = (totals[0] == 0)[..., 0] | (totals[1] == 0)[..., 0]
    return np.where(empty, np.nan, index)


@dataclass(frozen=True, eq=False)
class DriftReference:
    """Bins of a reference's values, stored for comparison with later episodes.

    Attributes
    ----------
    channels : (C,) names.
    edges : (C, 9) deciles of the reference; equal deciles make the bins between them empty.
    counts : (E, C, 11) histogram of each reference episode; the last bin counts unknown values.
    """

    channels: tuple[str, ...]
    edges: Floats
    counts: Ints

    @classmethod
    def fit(cls, channels: Sequence[str], episodes: Iterable[npt.NDArray[np.floating]]) -> Self:
        """Compute deciles over all windows, (n_windows, C) of each episode; NaN is unknown.

        DatasetError if there is no window, or the number of channels differs.
        """
        values = [np.asarray(part, dtype=np.float64) for part in episodes]
        for part in values:
            _require_channels(part, channels)
        if not sum(len(part) for part in values):
            raise DatasetError("drift needs a reference with at least one window; it has none")
        joined = np.concatenate(values)
        # A channel that was never recorded has no deciles; any later value of it is new.
        known = np.where(np.isnan(joined).all(axis=0), -np.inf, joined)
        at = np.arange(1, N_BINS) / N_BINS
        edges = np.stack([_deciles(column, at) for column in known.T])
        empty = cls(tuple(channels), edges, np.zeros((0, len(channels), N_BINS + 1), np.int64))
        return cls(tuple(channels), edges, np.stack([empty.histogram(part) for part in values]))

    def histogram(self, values: npt.NDArray[np.floating]) -> Ints:
        """Count one episode's values by bin: (n_windows, C) -> (C, 11)."""
        _require_channels(values, self.channels)
        unknown = np.isnan(values)
        bins = np.stack(
            [
                np.searchsorted(edges, column, side="right")
                for edges, column in zip(self.edges, np.asarray(values, np.float64).T, strict=True)
            ],
            axis=1,
        ).reshape(values.shape)
        bins = np.where(unknown, N_BINS, bins)
        cells = bins + np.arange(len(self.channels)) * (N_BINS + 1)
        size = len(self.channels) * (N_BINS + 1)
        counts: Ints = np.bincount(cells.ravel(), minlength=size).astype(np.int64)
        return counts.reshape(len(self.channels), N_BINS + 1)

    def compare(
        self, new: Sequence[Ints], *, seed: int, n_permutations: int = N_PERMUTATIONS
    ) -> list[ChannelDrift]:
        """Compute the index of every channel with its permutation limit, in order.

        Parameters
        ----------
        new : (C, 11) histogram of each new episode.
        n_permutations : random reassignments of all episodes to reference and new.
        """
        if not new:
            reason = "there is no new episode"
            return [_row(name, float("nan"), float("nan"), reason) for name in self.channels]
        arrived = np.stack(list(new))
        index = psi(self.counts.sum(axis=0), arrived.sum(axis=0))
        chance = self._chance(arrived, seed, n_permutations)
        return [
            _row(name, float(value), float(limit), "there is no value to compare")
            for name, value, limit in zip(self.channels, index, chance, strict=True)
        ]

    def _chance(self, arrived: Ints, seed: int, n_permutations: int) -> Floats:
        every = np.concatenate([self.counts, arrived])
        n_all, n_new = len(every), len(arrived)
        flat = every.reshape(n_all, -1).astype(np.float64)
        total = flat.sum(axis=0)
        rng = np.random.default_rng(seed)
        indices = []
        for _ in range(n_permutations):
            taken = flat[rng.permutation(n_all)[:n_new]].sum(axis=0)
            shape = every.shape[1:]
            indices.append(psi((total - taken).reshape(shape), taken.reshape(shape)))
        limit: Floats = np.quantile(np.stack(indices), 0.95, axis=0)
        return limit

    def to_dict(self) -> SavedReference:
        """Convert to JSON values."""
        return {
            "channels": list(self.channels),
            # JSON cannot represent −∞, the deciles of a channel that was never known.
            "edges": [row.tolist() if np.isfinite(row).all() else None for row in self.edges],
            "counts": self.counts.tolist(),
        }

    @classmethod
    def from_dict(cls, saved: SavedReference) -> Self:
        """Restore a reference from ``to_dict``; DatasetError if a part is missing or malformed."""
        try:
            channels = tuple(saved["channels"])
            never = [-np.inf] * (N_BINS - 1)
            edges = np.array([row or never for row in saved["edges"]], dtype=np.float64)
            counts = np.array(saved["counts"], dtype=np.int64)
        except (KeyError, TypeError, ValueError) as fault:
            raise DatasetError(f"the drift reference is incomplete: {fault!r}") from fault
        wanted = (len(channels), N_BINS + 1)
        if edges.shape != (wanted[0], N_BINS - 1) or counts.shape[1:] != wanted:
            raise DatasetError(
                f"the drift reference has edges {edges.shape} and counts {counts.shape}, wanted "
                f"({wanted[0]}, {N_BINS - 1}) and (episodes, {wanted[0]}, {wanted[1]})"
            )
        return cls(channels, edges, counts)


def window_levels(
    grid: npt.NDArray[np.floating], baseline_median: npt.ArrayLike | None = None
) -> Floats:
    """Compute channel means of the windows after the baseline: (n_steps, C) -> (n_windows, C).

    ``baseline_median``, (C,), is subtracted as for models; None keeps levels. NaN if a channel is
    unknown in a whole window.
    """
    starts = window_starts(len(grid))
    windows = cut_windows(grid, starts[starts >= BASELINE_STEPS]).astype(np.float64)
    known = ~np.isnan(windows)
    n_known = known.sum(axis=1)
    total = np.where(known, windows, 0.0).sum(axis=1)
    levels: Floats = np.where(n_known > 0, total / np.maximum(n_known, 1), np.nan)
    return levels if baseline_median is None else levels - np.asarray(baseline_median, np.float64)


def _deciles(column: Floats, at: Floats) -> Floats:
    if np.isneginf(column).all():
        return np.full(at.size, -np.inf)
    deciles: Floats = np.nanquantile(column, at).astype(np.float64)
    return deciles


def _require_channels(values: npt.NDArray[np.floating], channels: Sequence[str]) -> None:
    if values.ndim != 2 or values.shape[1] != len(channels):
        raise DatasetError(
            f"drift takes (n_windows, {len(channels)}) values, got {values.shape}; "
            "cut them with the same channels"
        )


def _row(channel: str, index: float, chance: float, reason: str) -> ChannelDrift:
    known = bool(np.isfinite(index))
    return {
        "channel": channel,
        "psi": index if known else None,
        "flagged": bool(index > THRESHOLD) if known else None,
        "chance_95": chance if np.isfinite(chance) else None,
        "beyond_chance": bool(index > chance) if known and np.isfinite(chance) else None,
        "why": None if known else reason,
    }

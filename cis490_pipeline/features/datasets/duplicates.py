"""Near-duplicate detection: the same telemetry under two ids, in different files.

The sweep finds episodes with byte-identical files (``duplicate_content``). This module finds those
with equal telemetry: rewritten, trimmed at the start or the end, or shipped by another host.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import Source, Variant
from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.channels import source_slices
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.windows import STEPS

MIN_EQUAL: Final = 0.5
"""Minimal share of bit-identical changing values for two episodes to be near-duplicates."""
MIN_TELLING: Final = 50
"""Minimal number of changing values to compare; fewer are inconclusive, as on idle devices."""

_MARKED: Final = (Source.PROC, Source.GUEST)
"""Sources whose rates depend on clock intervals that never repeat, unlike packet counts."""
_MIN_MOVED: Final = 3
_EVERY: Final = 8
_MIN_MARKS: Final = 3


@dataclass(frozen=True, order=True)
class NearDuplicate:
    """Two episodes on different sides with the same telemetry."""

    first: str
    second: str
    first_side: str
    second_side: str
    n_steps: int
    """Number of common steps of 100 ms."""
    share: float
    """Share of bit-identical values among those that changed."""

    def __str__(self) -> str:
        """Describe both episodes, their sides, and the share of equal values."""
        return (
            f"{self.first} ({self.first_side}) and {self.second} ({self.second_side}) hold the "
            f"same telemetry: {self.share:.0%} of the values that moved in {self.n_steps / 10:g} s "
            "are equal to the bit"
        )


def near_duplicates(grids: GridStore, episodes: pl.DataFrame) -> list[NearDuplicate]:
    """Find telemetry that is on two sides under two ids: sorted pairs; empty for a valid split.

    Of many copies of one recording not every pair is reported, but every copy with another on
    another side is.

    Parameters
    ----------
    grids : grids of the episodes; each is read once.
    episodes : episode_id, side; excluded episodes are ignored.

    Notes
    -----
    Content-defined sampling (Manber, 1994), which is robust to trimming and shifts in time: among
    the steps of ``proc`` and ``guest`` in which at least three values change, an eighth is selected
    by a hash of the values. Two episodes that share three hashes at the same offset are compared
    step by step.
    """
    used = episodes.filter(pl.col("side") != "excluded").select("episode_id", "side")
    names, sides = (used.sort("episode_id")[column].to_list() for column in ("episode_id", "side"))
    pairs = []
    for a, b, shift in _candidates([grids.grid(name) for name in names], sides):
        first, second = (a, b) if shift >= 0 else (b, a)
        n_steps, share = _equal_share(
            grids.grid(names[first]), grids.grid(names[second]), abs(shift)
        )
        if share >= MIN_EQUAL:
            x, y = sorted((first, second))
            pairs.append(
                NearDuplicate(names[x], names[y], sides[x], sides[y], n_steps=n_steps, share=share)
            )
    return sorted(pairs)


def assert_no_near_duplicates(grids: GridStore, episodes: pl.DataFrame) -> None:
    """Raise DatasetError, naming the episodes, if the same telemetry is on two sides."""
    pairs = near_duplicates(grids, episodes)
    if pairs:
        first = "; ".join(str(pair) for pair in pairs[:5])
        more = f", and {len(pairs) - 5} more pairs" if len(pairs) > 5 else ""
        raise DatasetError(
            f"the sides share telemetry: {first}{more}. Keep one of each pair: take the other's "
            "row out of the store's index.jsonl (it is then counted as not_indexed)"
        )


def _candidates(grids: Sequence[Float32s], sides: Sequence[str]) -> list[tuple[int, int, int]]:
    """Pairs on two sides that share hashes, with the second's offset in steps."""
    parts = [_marks(grid) for grid in grids]
    number = np.repeat(np.arange(len(parts)), [hashes.size for hashes, _ in parts])
    hashes = np.concatenate([np.zeros(0, np.uint64), *(part[0] for part in parts)])
    steps = np.concatenate([np.zeros(0, np.int64), *(part[1] for part in parts)])
    order = np.lexsort((number, hashes))
    here, after = order[:-1], order[1:]
    # In sorted order, a hash on two sides has two neighbouring entries on different sides.
    side = np.unique(np.array(sides, dtype=np.str_), return_inverse=True)[1]
    shared = (hashes[here] == hashes[after]) & (side[number[here]] != side[number[after]])
    here, after = here[shared], after[shared]
    pairs = pl.DataFrame(
        {"a": number[here], "b": number[after], "shift": steps[here] - steps[after]}
    )
    counted = pairs.group_by("a", "b", "shift").len().filter(pl.col("len") >= _MIN_MARKS)
    best = counted.sort("len", "shift", descending=True).unique(("a", "b"), keep="first")
    return sorted(best.select("a", "b", "shift").rows())


def _marks(grid: Float32s) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Hashes and positions of the selected steps of each source."""
    hashes, steps = [], []
    for source in _MARKED:
        columns = source_slices(Variant.ORACLE)[source]
        # Adding zero turns −0 into +0, so that equal values have equal bits.
        values = np.asarray(grid[:, columns], dtype=np.float32) + np.float32(0)
        moved = np.abs(np.diff(values, axis=0)) > 0
        telling = 1 + np.flatnonzero(moved.sum(axis=1) >= _MIN_MOVED)
        bits = np.where(np.isnan(values), np.float32(-1), values)[telling].view(np.uint32)
        rng = np.random.default_rng(columns.start)
        odd = 2 * rng.integers(0, 2**63, bits.shape[1] + 1, dtype=np.uint64) + np.uint64(1)
        mixed = (bits.astype(np.uint64) * odd[1:]).sum(axis=1, dtype=np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * odd[:1]
        chosen = (mixed >> np.uint64(40)) % np.uint64(_EVERY) == 0
        hashes.append(mixed[chosen])
        steps.append(telling[chosen].astype(np.int64))
    return np.concatenate(hashes), np.concatenate(steps)


def _equal_share(a: Float32s, b: Float32s, shift: int) -> tuple[int, float]:
    """Count the common steps; return the share of equal values where either episode changes.

    ``b`` begins ``shift`` steps after ``a``.
    """
    n = min(len(a) - shift, len(b))
    if n < STEPS:
        return max(n, 0), 0.0
    first, second = np.asarray(a[shift : shift + n]), np.asarray(b[:n])
    known = ~np.isnan(first) & ~np.isnan(second)
    moved = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    telling = moved & known[1:] & known[:-1]
    n_telling = int(telling.sum())
    if n_telling < MIN_TELLING:
        return n, 0.0
    return n, float((first[1:] == second[1:])[telling].mean())

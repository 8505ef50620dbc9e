"""The same telemetry under two ids: found by what was recorded, whatever the files look like.

Episodes whose files are equal to the byte are found by the sweep (``duplicate_content``). Here are
those that only say the same: written anew, cut at the start or the end, or shipped by another host.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import Source, Variant
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.channels import source_slices
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.windows import STEPS

MIN_EQUAL: Final = 0.5
"""Share of telling values that are equal to the bit, from which two episodes are one."""
MIN_TELLING: Final = 50
"""Values that moved since the step before; fewer say nothing, as when both devices are idle."""

_MARKED: Final = (Source.PROC, Source.GUEST)
"""Their rates are of clock intervals that never repeat; counts of packets do."""
_MIN_MOVED: Final = 3
_EVERY: Final = 8
_MIN_MARKS: Final = 3

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, order=True)
class NearDuplicate:
    """Two episodes on different sides that hold the same telemetry."""

    first: str
    second: str
    first_side: str
    second_side: str
    n_steps: int
    """Steps of 100 ms that both hold."""
    share: float
    """Of the values that moved, those that are equal to the bit."""

    def __str__(self) -> str:
        """Name both episodes, their sides, and what is equal."""
        return (
            f"{self.first} ({self.first_side}) and {self.second} ({self.second_side}) hold the "
            f"same telemetry: {self.share:.0%} of the values that moved in {self.n_steps / 10:g} s "
            "are equal to the bit"
        )


def near_duplicates(grids: GridStore, episodes: pl.DataFrame) -> list[NearDuplicate]:
    """Find telemetry that stands on two sides under two ids.

    Parameters
    ----------
    grids : grids of the episodes; all of them are read once.
    episodes : episode_id, side; excluded ones are on no side and are left out.

    Returns
    -------
    Sorted; empty for a sound split. Of many copies of one recording not every pair is named, but
    every one is found that has another on another side.

    Notes
    -----
    Of the steps of ``proc`` and of ``guest`` in which three values moved, an eighth, chosen by what
    they hold, is marked by a hash. Two episodes that share three marks at the same distance are
    compared step by step: sampling by content (Manber, 1994) finds what was cut and moved in time.
    """
    used = episodes.filter(pl.col("side") != "excluded").select("episode_id", "side")
    names, sides = (used.sort("episode_id")[column].to_list() for column in ("episode_id", "side"))
    found = []
    for a, b, shift in _candidates([grids.grid(name) for name in names], sides):
        first, second = (a, b) if shift >= 0 else (b, a)
        n_steps, share = _equal_share(
            grids.grid(names[first]), grids.grid(names[second]), abs(shift)
        )
        if share >= MIN_EQUAL:
            x, y = sorted((first, second))
            found.append(
                NearDuplicate(names[x], names[y], sides[x], sides[y], n_steps=n_steps, share=share)
            )
    return sorted(found)


def assert_no_near_duplicates(grids: GridStore, episodes: pl.DataFrame) -> None:
    """Refuse the same telemetry on two sides.

    Parameters
    ----------
    grids, episodes : as ``near_duplicates``.

    Raises
    ------
    DatasetError
        Naming the episodes.
    """
    found = near_duplicates(grids, episodes)
    if found:
        told = "; ".join(str(copy) for copy in found[:5])
        more = f", and {len(found) - 5} more pairs" if len(found) > 5 else ""
        raise DatasetError(
            f"the sides share telemetry: {told}{more}. Keep one of each pair: take the other's "
            "row out of the store's index.jsonl (it is then counted as not_indexed)"
        )


def _candidates(grids: Sequence[Array], sides: Sequence[str]) -> list[tuple[int, int, int]]:
    """Pairs on two sides that share marks, and by how many steps the second begins later."""
    parts = [_marks(grid) for grid in grids]
    number = np.repeat(np.arange(len(parts)), [hashes.size for hashes, _ in parts])
    hashes = np.concatenate([np.zeros(0, np.uint64), *(part[0] for part in parts)])
    steps = np.concatenate([np.zeros(0, np.int64), *(part[1] for part in parts)])
    order = np.lexsort((number, hashes))
    here, after = order[:-1], order[1:]
    # Neighbours are enough: where a mark is on two sides, two neighbours with it are.
    side = np.unique(np.array(sides, dtype=np.str_), return_inverse=True)[1]
    shared = (hashes[here] == hashes[after]) & (side[number[here]] != side[number[after]])
    here, after = here[shared], after[shared]
    pairs = pl.DataFrame(
        {"a": number[here], "b": number[after], "shift": steps[here] - steps[after]}
    )
    counted = pairs.group_by("a", "b", "shift").len().filter(pl.col("len") >= _MIN_MARKS)
    best = counted.sort("len", "shift", descending=True).unique(("a", "b"), keep="first")
    return sorted(best.select("a", "b", "shift").rows())


def _marks(grid: Array) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Hashes of an eighth of the telling steps of each marked source, and which steps they are."""
    hashes, steps = [], []
    for source in _MARKED:
        columns = source_slices(Variant.ORACLE)[source]
        # Adding zero makes one of the two zeros.
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


def _equal_share(a: Array, b: Array, shift: int) -> tuple[int, float]:
    """Count the steps in common; give the share of equal values where either of the two moved.

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

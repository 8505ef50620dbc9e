"""The same telemetry under two ids: found by what was recorded, whatever the files look like.

Episodes whose files are equal to the byte are found by the sweep (``duplicate_content``). Here are
those that only say the same: written anew, cut at the start or the end, or shipped by another host.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.grid_store import GridStore
from cis490_pipeline.features.resample import STEP_NS
from cis490_pipeline.features.windows import STEPS

MIN_EQUAL: Final = 0.5
"""Share of telling values that are equal to the bit, from which two episodes are one."""
MIN_TELLING: Final = 50
"""Values that moved since the step before; fewer say nothing, as when both devices are idle."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, order=True)
class Copy:
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


def copies_on_two_sides(grids: GridStore, episodes: pl.DataFrame) -> list[Copy]:
    """Find telemetry that stands on two sides under two ids.

    Parameters
    ----------
    grids : grids of the episodes.
    episodes : episode_id, host_id, side; excluded ones are on no side and are left out.

    Returns
    -------
    Sorted; empty for a sound split.

    Notes
    -----
    Compared are pairs on different sides with the same statistics of the first 15 s, step by step
    from their starts, and pairs recorded at overlapping times, step by step at the same wall time.
    A copy that is cut at its start *and* moved in time is not found.
    """
    used = episodes.filter(pl.col("side") != "excluded").select("episode_id", "side")
    rows = grids.frame.join(used, on="episode_id", how="inner").sort("t0_wall_ns", "episode_id")
    found: dict[tuple[str, str], Copy] = {}
    for a, b, shifts in (*_same_start(rows), *_same_time(rows)):
        pair = (a["episode_id"], b["episode_id"])
        if pair in found:
            continue
        grid_a, grid_b = (grids.grid(row["episode_id"]) for row in (a, b))
        n_steps, share = max(
            (_equal_share(grid_a, grid_b, shift) for shift in shifts), key=lambda each: each[1]
        )
        if share >= MIN_EQUAL:
            sides = (a["side"], b["side"])
            found[pair] = Copy(*pair, *sides, n_steps=n_steps, share=share)
    return sorted(found.values())


def assert_no_copies(grids: GridStore, episodes: pl.DataFrame) -> None:
    """Refuse the same telemetry on two sides.

    Parameters
    ----------
    grids, episodes : as ``copies_on_two_sides``.

    Raises
    ------
    DatasetError
        Naming the episodes.
    """
    found = copies_on_two_sides(grids, episodes)
    if found:
        told = "; ".join(str(copy) for copy in found[:5])
        more = f", and {len(found) - 5} more pairs" if len(found) > 5 else ""
        raise DatasetError(
            f"the sides share telemetry: {told}{more}. Keep one of each pair: take the other's "
            "row out of the store's index.jsonl (it is then counted as not_indexed)"
        )


Row = dict[str, Any]


def _same_start(rows: pl.DataFrame) -> Iterator[tuple[Row, Row, tuple[int, ...]]]:
    """Pairs on two sides whose first 15 s have the same statistics, whenever they were recorded."""
    columns = ("baseline_median", "baseline_iqr")
    parts = [rows[column].explode().to_numpy().reshape(rows.height, -1) for column in columns]
    # Bytes, not floats: NaN, a channel unknown in both, is then equal to itself.
    prints = np.ascontiguousarray(np.concatenate(parts, axis=1).astype("<f4"))
    groups: dict[bytes, list[int]] = {}
    for i, row in enumerate(prints):
        groups.setdefault(row.tobytes(), []).append(i)
    for members in groups.values():
        for k, i in enumerate(members):
            for j in members[k + 1 :]:
                if rows["side"][i] != rows["side"][j]:
                    yield rows.row(i, named=True), rows.row(j, named=True), (0,)


def _same_time(rows: pl.DataFrame) -> Iterator[tuple[Row, Row, tuple[int, ...]]]:
    """Pairs on two sides that were recorded at overlapping times, with what aligns them."""
    starts = rows["t0_wall_ns"].to_numpy()
    ends = starts + rows["n_steps"].to_numpy() * STEP_NS
    sides = rows["side"].to_numpy()
    # Sorted by start: of those that began before an episode's end, all before it were looked at.
    last = np.searchsorted(starts, ends - STEPS * STEP_NS, side="right")
    for i in range(rows.height):
        for j in range(i + 1, int(last[i])):
            if sides[i] != sides[j]:
                shift, rest = divmod(int(starts[j] - starts[i]), STEP_NS)
                shifts = (shift, shift + 1) if rest else (shift,)
                yield rows.row(i, named=True), rows.row(j, named=True), shifts


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

"""Uncalibrated windows of a dataset, taken by their place in its key frame."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import Side, Variant
from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.domain.catalogue import InputKind
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.channels import channel_indices
from cis490_pipeline.features.datasets.build import INDEX_FILE
from cis490_pipeline.features.datasets.manifest import DatasetManifest, contents_digest
from cis490_pipeline.features.datasets.summary_rows import row_file, table_height
from cis490_pipeline.features.datasets.window_data import fits_in_memory
from cis490_pipeline.features.datasets.window_keys import SideKeys, read_side_keys
from cis490_pipeline.features.grids.row_file import RowFile
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.summary import summary_names
from cis490_pipeline.features.windows import STEPS, STRIDE_STEPS
from cis490_pipeline.storage.parquet import scan_table

_GAP_STEPS: Final = 4 * STEPS
"""Windows no farther apart are read together with what lies between: cheaper than a seek."""

_GAP_ROWS: Final = 80
"""The same for summaries: 72 kB."""

_TAKEN_WINDOWS: Final = 256
"""Windows read with all channels before they are thinned out: 5 MB."""


class RawWindows(Protocol):
    """Uncalibrated windows by their place in the key frame."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window."""
        ...

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> Float32s:
        """Windows at ``indices``, in that order: (n_indices, *shape); NaN is unknown."""
        ...

    def read_ahead(self, indices: npt.NDArray[np.integer[Any]]) -> None:
        """Have the readings at ``indices`` read from disk in the background."""
        ...


def open_windows(
    folder: Path,
    manifest: DatasetManifest,
    kind: InputKind,
    variant: Variant,
    side: Side,
    wanted: pl.Expr,
) -> tuple[SideKeys, RawWindows]:
    """Open the wanted windows of one side of a dataset.

    Parameters
    ----------
    folder, manifest : of the dataset.
    kind, variant, side : which windows.
    wanted : on the key columns.

    Returns
    -------
    Keys of the windows as the dataset has them, and the windows in the same order. Summaries are
    held in memory if they are few; else they are read as asked for, as tensors always are.

    Raises
    ------
    DatasetError
        If the side has no file, or the grids are not those the windows were cut from.
    """
    tables = key_tables(folder, manifest, kind, side)
    if kind == "tensor":
        keys = read_side_keys(tables, wanted, place="window_idx")
        return keys, InShards(_grids_of(folder, manifest), keys, channel_indices(variant))
    keys = read_side_keys(tables, wanted)
    names = summary_names(variant)
    if not fits_in_memory(len(keys.y), (len(names),)):
        return keys, InRows(tables, keys.place, variant)
    X = pl.concat(scan_table(table).filter(wanted).select(names) for table in tables)
    return keys, InMemory(np.ascontiguousarray(X.collect().to_numpy(), dtype=np.float32))


def key_tables(folder: Path, manifest: DatasetManifest, kind: InputKind, side: Side) -> list[Path]:
    """Parquet files that the keys of a side's windows are in, in the order of the windows.

    Raises
    ------
    DatasetError
        If the side has no file.
    """
    if kind == "tensor":
        return [folder / INDEX_FILE]
    shards = sorted(
        name for name in manifest.files if name.startswith(f"{side}-") and name[-8:] == ".parquet"
    )
    if not shards:
        raise DatasetError(f"{folder}: no window on side {side}")
    return [folder / name for name in shards]


def read_baselines(folder: Path, manifest: DatasetManifest) -> npt.NDArray[np.void]:
    """Baselines of all episodes of a dataset, in its order, memory-mapped.

    Mapped: of a side's episodes alone is more than the name read.
    """
    name = next(name for name in manifest.files if name.startswith("baselines-"))
    baselines: npt.NDArray[np.void] = np.load(folder / name, mmap_mode="r", allow_pickle=False)
    return baselines


def _grids_of(folder: Path, manifest: DatasetManifest) -> GridStore:
    grids = GridStore(folder / manifest.grids_folder)
    ids = pl.Series("episode_id", read_baselines(folder, manifest)["episode_id"], pl.String)
    there = ids.to_frame().join(grids.frame, on="episode_id", maintain_order="left")
    if contents_digest(there) != manifest.contents:
        raise DatasetError(
            f"{folder}: the grids in {grids.folder} are not those its windows were cut from "
            f"(of its {len(ids)} episodes they hold {there.height}, or with other telemetry); "
            "build the tensor dataset again"
        )
    return grids


class InMemory:
    """Summaries: (n_windows, n_features)."""

    def __init__(self, X: Float32s) -> None:
        self._X = X

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window."""
        return (self._X.shape[1],)

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> Float32s:
        """Windows at ``indices``: (n_indices, n_features)."""
        chosen: Float32s = self._X[indices]
        return chosen

    def read_ahead(self, indices: npt.NDArray[np.integer[Any]]) -> None:
        """Do nothing: in memory there is nothing to wait for."""


class InRows:
    """Summaries read from rows beside their shards as they are asked for.

    The same values in the same order as ``InMemory``; what is held does not grow with them.
    """

    def __init__(
        self, shards: Sequence[Path], rows: npt.NDArray[np.integer[Any]], variant: Variant
    ) -> None:
        """Open the shards that rows are wanted of.

        Parameters
        ----------
        shards : parquet files of the side.
        rows : (n_windows,) wanted, counted through all shards.
        variant : whose columns.
        """
        oracle = {name: i for i, name in enumerate(summary_names(Variant.ORACLE))}
        self._columns = np.array([oracle[name] for name in summary_names(variant)])
        self._rows = rows
        ends = np.cumsum([table_height(shard) for shard in shards])
        wanted = np.unique(np.searchsorted(ends, rows, side="right"))
        self._ends = ends[wanted]
        self._first = np.concatenate([[0], ends])[wanted]
        self._shards = [row_file(shards[number]) for number in wanted]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window."""
        return (self._columns.size,)

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> Float32s:
        """Windows at ``indices``: (n_indices, n_features)."""
        out = np.empty((len(indices), *self.shape), dtype=np.float32)
        for shard, here, rows in self._placed(indices):
            out[here] = self._shards[shard].take(rows)[:, 0, self._columns]
        return out

    def read_ahead(self, indices: npt.NDArray[np.integer[Any]]) -> None:
        """Have the rows of these windows read from disk."""
        for shard, _, rows in self._placed(indices):
            self._shards[shard].read_ahead(rows, 1, _GAP_ROWS)

    def _placed(
        self, indices: npt.NDArray[np.integer[Any]]
    ) -> Iterator[tuple[int, npt.NDArray[np.intp], npt.NDArray[np.int64]]]:
        """Each shard's number, which of the indices are in it, and in which of its rows."""
        rows = self._rows[indices].astype(np.int64)
        shard_of = np.searchsorted(self._ends, rows, side="right")
        for shard in np.unique(shard_of):
            here = np.flatnonzero(shard_of == shard)
            yield int(shard), here, rows[here] - self._first[shard]


class InShards:
    """Tensors cut from grid shards as they are asked for."""

    def __init__(self, grids: GridStore, keys: SideKeys, channels: npt.NDArray[np.intp]) -> None:
        """Open the shards that windows are wanted of.

        Parameters
        ----------
        grids : holds the shards.
        keys : with each window's number in its episode.
        channels : wanted, by their place in a grid.
        """
        self._channels = channels
        places = [grids.place(name) for name in keys.episodes["episode_id"]]
        names = sorted({shard for shard, _ in places})
        self._shards: list[RowFile] = [grids.rows(name) for name in names]
        number = {name: i for i, name in enumerate(names)}
        self._shard_of_episode = np.array([number[shard] for shard, _ in places], dtype=np.intp)
        self._first_row = np.array([first for _, first in places], dtype=np.int64)
        self._episode, self._window = keys.number, keys.place

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window."""
        return (self._channels.size, STEPS)

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> Float32s:
        """Windows at ``indices``: (n_indices, n_channels, 100)."""
        out = np.empty((len(indices), *self.shape), dtype=np.float32)
        for shard, here, starts in self._placed(indices):
            for part in range(0, starts.size, _TAKEN_WINDOWS):
                chosen = slice(part, part + _TAKEN_WINDOWS)
                # Steps first, channels second: whole rows are read, then thinned out.
                steps = self._shards[shard].take(starts[chosen], STEPS)
                out[here[chosen]] = steps[..., self._channels].transpose(0, 2, 1)
        return out

    def read_ahead(self, indices: npt.NDArray[np.integer[Any]]) -> None:
        """Have the steps of these windows, and what lies between near ones, read from disk."""
        for shard, _, starts in self._placed(indices):
            self._shards[shard].read_ahead(starts, STEPS, _GAP_STEPS)

    def _placed(
        self, indices: npt.NDArray[np.integer[Any]]
    ) -> Iterator[tuple[int, npt.NDArray[np.intp], npt.NDArray[np.int64]]]:
        """Each shard's number, which of the indices are in it, and their first steps there."""
        episode = self._episode[indices]
        shard_of = self._shard_of_episode[episode]
        starts = self._first_row[episode] + self._window[indices].astype(np.int64) * STRIDE_STEPS
        for shard in np.unique(shard_of):
            here = np.flatnonzero(shard_of == shard)
            yield int(shard), here, starts[here]

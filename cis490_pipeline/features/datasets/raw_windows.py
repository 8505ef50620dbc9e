"""Uncalibrated windows of a dataset, by their place among the keys: in memory, or from files."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import Side, Variant
from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.domain.catalogue import FlatKind, InputKind
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.channels import channel_indices
from cis490_pipeline.features.columns import stored_columns, stored_names
from cis490_pipeline.features.datasets.opened import OpenDataset
from cis490_pipeline.features.datasets.rows_in_grids import RowsCutFromGrids
from cis490_pipeline.features.datasets.summary_rows import row_file, table_height
from cis490_pipeline.features.datasets.window_data import HeldWindows, fits_in_memory
from cis490_pipeline.features.datasets.window_keys import WindowKeys, read_window_keys
from cis490_pipeline.features.grids.row_file import RowFile
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.windows import STEPS, STRIDE_STEPS
from cis490_pipeline.storage.parquet import scan_table

Indices = npt.NDArray[np.integer[Any]]
Locate = Callable[[Indices], tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]]

_GAP_BYTES: Final = 73_600
"""Spans no farther apart are read together with what lies between: cheaper than a seek."""

_TAKEN_BYTES: Final = 4_710_400
"""Read with all columns at a time, before they are thinned out."""


class WindowsInFiles:
    """Windows that are spans of rows in files, read as they are asked for.

    The same values in the same order as held in memory; what is held does not grow with them.
    """

    def __init__(
        self, files: Sequence[RowFile], locate: Locate, length: int, columns: npt.NDArray[np.intp]
    ) -> None:
        """Set out where windows lie.

        Parameters
        ----------
        files : that hold them.
        locate : gives the file of each window, and the row it begins at.
        length : rows of a window; a window of one row has no axis for them.
        columns : of the files, in the order wanted.
        """
        self._files, self._locate = files, locate
        self._length, self._columns = length, columns

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window: (n_channels, 100) or (n_features,)."""
        n = self._columns.size
        return (n, self._length) if self._length > 1 else (n,)

    def take(self, indices: Indices) -> Float32s:
        """Windows at ``indices``, in that order: (n_indices, *shape); NaN is unknown."""
        out = np.empty((len(indices), self._columns.size, self._length), dtype=np.float32)
        for file, here, first in self._by_file(indices):
            at_a_time = max(1, _TAKEN_BYTES // (file.row_bytes * self._length))
            for part in range(0, first.size, at_a_time):
                chosen = slice(part, part + at_a_time)
                # Whole rows are read, then thinned out.
                rows = file.take(first[chosen], self._length)
                out[here[chosen]] = rows[..., self._columns].transpose(0, 2, 1)
        return out.reshape(len(indices), *self.shape)

    def read_ahead(self, indices: Indices) -> None:
        """Have these windows, and what lies between near ones, read from disk."""
        for file, _, first in self._by_file(indices):
            file.read_ahead(first, self._length, _GAP_BYTES // file.row_bytes)

    def _by_file(
        self, indices: Indices
    ) -> Iterator[tuple[RowFile, npt.NDArray[np.intp], npt.NDArray[np.int64]]]:
        """Each file, which of the indices are in it, and from which of its rows on."""
        file_of, first = self._locate(indices)
        for file in np.unique(file_of):
            here = np.flatnonzero(file_of == file)
            yield self._files[file], here, first[here]


RawWindows = HeldWindows | WindowsInFiles | RowsCutFromGrids


def open_windows(
    dataset: OpenDataset,
    variant: Variant,
    side: Side,
    wanted: pl.Expr,
    kind: InputKind | None = None,
) -> tuple[WindowKeys, RawWindows]:
    """Open the wanted windows of one side of a dataset: their keys, and the windows in that order.

    Features are held in memory if they are few; else they are read as asked for, as tensors always
    are. ``kind`` is that of the dataset by default; one of history also holds summaries, and from
    the grids behind tensors either kind of features is cut as asked for.

    Raises
    ------
    DatasetError
        If the side has no file, the grids are not those the windows were cut from, or the dataset
        holds no windows of the kind.
    """
    tables = dataset.tables(side)
    kind, among = kind or dataset.kind, dataset.kind
    if not dataset.holds(kind):
        raise DatasetError(f"{dataset.folder}: {among} windows, wanted {kind} windows")
    if kind == "tensor" or among == "tensor":
        keys = read_window_keys(tables, wanted, row="window_idx")
        if kind != "tensor":
            return keys, RowsCutFromGrids(kind, dataset.grids, keys, variant)
        return keys, windows_in_grids(dataset.grids, keys, variant)
    keys = read_window_keys(tables, wanted)
    names = stored_names(kind, variant)
    if not fits_in_memory(len(keys.y), (len(names),)):
        columns = stored_columns(kind, channel_indices(variant), among)
        return keys, windows_in_tables(tables, keys.row, among, columns)
    X = pl.concat(scan_table(table).filter(wanted).select(names) for table in tables)
    return keys, HeldWindows(np.ascontiguousarray(X.collect().to_numpy(), dtype=np.float32))


def windows_in_tables(
    tables: Sequence[Path], rows: Indices, kind: FlatKind, columns: npt.NDArray[np.intp]
) -> WindowsInFiles:
    """Features in the rows beside their tables; ``rows`` are counted through all tables.

    Tables that no row is wanted of are left alone.
    """
    ends = np.cumsum([table_height(table) for table in tables])
    used = np.unique(np.searchsorted(ends, rows, side="right"))
    first, ends = np.concatenate([[0], ends])[used], ends[used]

    def locate(indices: Indices) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
        here = rows[indices].astype(np.int64)
        file_of = np.searchsorted(ends, here, side="right")
        return file_of, here - first[file_of]

    files = [row_file(tables[number], kind) for number in used]
    return WindowsInFiles(files, locate, 1, columns)


def windows_in_grids(grids: GridStore, keys: WindowKeys, variant: Variant) -> WindowsInFiles:
    """Tensors in the grid shards; ``keys.row`` holds each window's number in its episode."""
    places = [grids.place(name) for name in keys.episodes["episode_id"]]
    names = sorted({shard for shard, _ in places})
    number = {name: i for i, name in enumerate(names)}
    shard_of = np.array([number[shard] for shard, _ in places], dtype=np.intp)
    first = np.array([row for _, row in places], dtype=np.int64)

    def locate(indices: Indices) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
        episode = keys.episode_index[indices]
        start = keys.row[indices].astype(np.int64) * STRIDE_STEPS
        return shard_of[episode], first[episode] + start

    files = [grids.rows(name) for name in names]
    return WindowsInFiles(files, locate, STEPS, channel_indices(variant))

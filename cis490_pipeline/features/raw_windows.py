"""Uncalibrated windows of a dataset, taken by their place in its key frame."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import Side, Variant
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.channels import channel_indices
from cis490_pipeline.features.dataset_build import INDEX_FILE
from cis490_pipeline.features.grid_store import GridStore, read_ahead
from cis490_pipeline.features.schema import InputKind
from cis490_pipeline.features.summary import summary_names
from cis490_pipeline.features.windows import STEPS

Array = npt.NDArray[np.float32]

_GAP_STEPS: Final = 4 * STEPS
"""Windows no farther apart are read together with what lies between: cheaper than a seek."""


class RawWindows(Protocol):
    """Uncalibrated windows by their place in the key frame."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window."""
        ...

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> Array:
        """Windows at ``indices``, in that order: (n_indices, *shape); NaN is unknown."""
        ...

    def read_ahead(self, indices: npt.NDArray[np.integer[Any]]) -> None:
        """Have the readings at ``indices`` read from disk in the background."""
        ...


def open_windows(
    folder: Path,
    manifest: Mapping[str, Any],
    kind: InputKind,
    variant: Variant,
    side: Side,
    wanted: pl.Expr,
) -> tuple[pl.DataFrame, RawWindows]:
    """Open the wanted windows of one side of a dataset.

    Parameters
    ----------
    folder, manifest : of the dataset.
    kind, variant, side : which windows.
    wanted : on the key columns.

    Returns
    -------
    Keys of the windows as the dataset has them, and the windows in the same order.

    Raises
    ------
    DatasetError
        If the side has no file, or the grid shards are not those the windows were cut from.
    """
    names = list(manifest["files"])
    if kind == "tensor":
        windows = pl.read_parquet(folder / INDEX_FILE).filter(wanted)
        return windows, InShards(_grids_of(folder, manifest), windows, channel_indices(variant))
    shards = sorted(n for n in names if n.startswith(f"{side}-") and n.endswith(".parquet"))
    if not shards:
        raise DatasetError(f"{folder}: no window on side {side}")
    windows = pl.concat(pl.scan_parquet(folder / n) for n in shards).filter(wanted).collect()
    X = windows.select(summary_names(variant)).to_numpy().astype(np.float32, copy=False)
    return windows, InMemory(np.ascontiguousarray(X))


def _grids_of(folder: Path, manifest: Mapping[str, Any]) -> GridStore:
    grids = GridStore(folder / manifest["grids_folder"])
    lost = sorted(
        name for name, sha in manifest["shards"].items() if grids.shard_sha256.get(name) != sha
    )
    if lost:
        raise DatasetError(
            f"{folder}: grid shards {lost} are not those its windows were cut from; "
            "build the tensor dataset again"
        )
    return grids


class InMemory:
    """Summaries: (n_windows, n_features)."""

    def __init__(self, X: Array) -> None:
        self._X = X

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window."""
        return (self._X.shape[1],)

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> Array:
        """Windows at ``indices``: (n_indices, n_features)."""
        chosen: Array = self._X[indices]
        return chosen

    def read_ahead(self, indices: npt.NDArray[np.integer[Any]]) -> None:
        """Do nothing: in memory there is nothing to wait for."""


class InShards:
    """Tensors cut from memory-mapped grid shards as they are asked for."""

    def __init__(
        self, grids: GridStore, windows: pl.DataFrame, channels: npt.NDArray[np.intp]
    ) -> None:
        self._channels = channels
        names = sorted(windows["shard"].unique())
        self._shards = [grids.shard(name) for name in names]
        number = {name: i for i, name in enumerate(names)}
        self._shard_of = np.array([number[name] for name in windows["shard"]], dtype=np.intp)
        self._row_start = windows["row_start"].to_numpy()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window."""
        return (self._channels.size, STEPS)

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> Array:
        """Windows at ``indices``: (n_indices, n_channels, 100)."""
        out = np.empty((len(indices), *self.shape), dtype=np.float32)
        shard_of = self._shard_of[indices]
        for shard in np.unique(shard_of):
            here = np.flatnonzero(shard_of == shard)
            steps = self._row_start[indices[here]][:, None] + np.arange(STEPS)
            # Steps first, channels second: whole rows are read from the map, then thinned out.
            out[here] = self._shards[shard][steps][..., self._channels].transpose(0, 2, 1)
        return out

    def read_ahead(self, indices: npt.NDArray[np.integer[Any]]) -> None:
        """Have the steps of these windows, and what lies between near ones, read from disk."""
        shard_of, start = self._shard_of[indices], self._row_start[indices]
        for shard in np.unique(shard_of):
            starts = np.unique(start[shard_of == shard])
            parts = np.split(starts, np.flatnonzero(np.diff(starts) > _GAP_STEPS) + 1)
            for part in parts:
                read_ahead(self._shards[shard], int(part[0]), int(part[-1]) + STEPS)

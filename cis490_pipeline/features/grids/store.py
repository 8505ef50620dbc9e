"""Grid shards on disk: index, digests and memory-mapped reading."""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import Variant
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.channels import N_CHANNELS, channel_indices
from cis490_pipeline.features.grids.row_file import RowFile
from cis490_pipeline.features.schema import FeatureSchema, grid_schema, require_same
from cis490_pipeline.storage.files import digest, file_sha256, read_object
from cis490_pipeline.storage.parquet import read_table
from cis490_pipeline.storage.remote_copy import fetch_file

INDEX_FILE: Final = "index.parquet"
MANIFEST_FILE: Final = "manifest.json"

INDEX_SCHEMA: Final = pl.Schema(
    {
        "episode_id": pl.String(),
        "host_id": pl.String(),
        "sha256": pl.String(),
        "shard": pl.String(),
        "row_start": pl.Int64(),
        "n_steps": pl.Int64(),
        "t0_wall_ns": pl.Int64(),
        "end_wall_ns": pl.Int64(),
        "label_t_wall_ns": pl.List(pl.Int64()),
        "label_phase": pl.List(pl.String()),
        "baseline_median": pl.List(pl.Float32()),
        "baseline_iqr": pl.List(pl.Float32()),
        "baseline_clean": pl.Boolean(),
        **{f"grid_{variant}": pl.String() for variant in Variant},
    }
)
"""Columns of ``index.parquet``, one row per episode, in the order received (then host, id).

``sha256`` identifies an episode's content; ``grid_<variant>`` is the SHA-256 of the variant's
channels of its grid.
"""

INDEX_VERSION: Final = "2"
"""2: rows in the order received, with digests by variant; 1: rows in the order gridded."""


class GridStore:
    """Grids of episodes, memory-mapped on demand."""

    def __init__(self, folder: Path) -> None:
        """Open a grid folder.

        Raises
        ------
        DatasetError
            If it has no manifest, or the index does not match it.
        SchemaMismatchError
            If its grids have another schema than this code builds.
        """
        self.folder = folder
        manifest = _read_manifest(folder)
        saved = FeatureSchema.from_dict(manifest["schema"])
        require_same(folder, saved, grid_schema(), manifest.get("commit"))
        index_path = folder / INDEX_FILE
        if not index_path.is_file() or file_sha256(index_path) != manifest["index_sha256"]:
            raise DatasetError(
                f"{index_path}: missing, or not the index of its manifest; build the grids again"
            )
        self.frame = read_table(index_path)
        self.digest: str = manifest["digest"]
        self.shard_sha256: dict[str, str] = manifest["shards"]
        self._maps: dict[str, npt.NDArray[np.float32]] = {}

    def shard(self, name: str) -> npt.NDArray[np.float32]:
        """Return one shard, memory-mapped: (n_rows, 46) time-major.

        Raises
        ------
        DatasetError
            If the manifest does not list it, or its file is missing or malformed.
        """
        if name not in self._maps:
            self._maps[name] = self._open(name)
        return self._maps[name]

    def rows(self, name: str) -> RowFile:
        """Return one shard for random access to rows; raises like `shard`.

        Keeps no memory map, because a corpus has more shards than the limit on open files.
        """
        return RowFile.behind(self._open(name))

    def _open(self, name: str) -> npt.NDArray[np.float32]:
        if name not in self.shard_sha256:
            raise DatasetError(f"{self.folder}: the manifest names no shard {name!r}")
        return open_shard(fetch_file(self.folder / name, self.shard_sha256[name]))

    def grid(self, episode_id: str) -> npt.NDArray[np.float32]:
        """Return the grid of one episode: (n_steps, 46) log1p values, memory-mapped.

        Raises
        ------
        DatasetError
            If there is no such episode.
        """
        shard, row_start = self.place(episode_id)
        n_steps = self._places[episode_id][2]
        grid: npt.NDArray[np.float32] = self.shard(shard)[row_start : row_start + n_steps]
        return grid

    def place(self, episode_id: str) -> tuple[str, int]:
        """Return the shard of an episode, and its first row there.

        Raises
        ------
        DatasetError
            If there is no such episode.
        """
        place = self._places.get(episode_id)
        if place is None:
            raise DatasetError(
                f"{self.folder}: no grid of episode {episode_id!r}; build the grids again"
            )
        return place[:2]

    def verify(self) -> list[str]:
        """Return the shards whose bytes do not match the manifest, sorted; reads every file."""
        return sorted(
            name
            for name, sha256 in self.shard_sha256.items()
            if not (path := fetch_file(self.folder / name, sha256)).is_file()
            or file_sha256(path) != sha256
        )

    @cached_property
    def _places(self) -> dict[str, tuple[str, int, int]]:
        rows = self.frame.select("episode_id", "shard", "row_start", "n_steps").iter_rows()
        return {episode_id: (shard, start, n) for episode_id, shard, start, n in rows}


def variant_digests(grid: npt.NDArray[np.float32]) -> dict[str, str]:
    """SHA-256 of each variant's channels of a grid, by index column."""
    return {
        f"grid_{variant}": hashlib.sha256(
            np.ascontiguousarray(grid[:, channel_indices(variant)], dtype="<f4").data
        ).hexdigest()
        for variant in Variant
    }


def grids_digest(frame: pl.DataFrame, schema: FeatureSchema) -> str:
    """Digest of the contents in order and of the schema, independent of the split into shards."""
    keys = frame.select("host_id", "episode_id", "sha256").rows()
    return digest({"schema": schema.hash, "episodes": [list(row) for row in keys]})


def open_shard(path: Path) -> npt.NDArray[np.float32]:
    """Memory-map one shard: (n_rows, 46) time-major.

    Raises
    ------
    DatasetError
        If it is missing or has another shape or type.
    """
    try:
        grids: npt.NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not a grid shard ({error}); build the grids again") from error
    if grids.dtype != np.float32 or grids.ndim != 2 or grids.shape[1] != N_CHANNELS:
        raise DatasetError(
            f"{path}: holds {grids.dtype} of shape {grids.shape}, wanted float32 (n, {N_CHANNELS})"
        )
    return grids


class _ManifestForm(msgspec.Struct):
    """Required fields of the grids' manifest."""

    digest: str
    shards: dict[str, str]
    index_sha256: str
    schema: dict[str, Any]


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise DatasetError(f"{path}: no grids here yet; run the sweep and build the grids first")
    manifest = read_object(path)
    try:
        msgspec.convert(manifest, type=_ManifestForm)
    except msgspec.ValidationError as wrong:
        raise DatasetError(
            f"{path}: no manifest of grids: {wrong}; build the grids again"
        ) from wrong
    return manifest

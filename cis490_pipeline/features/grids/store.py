"""Grid shards on disk: index, digests and memory-mapped reading."""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl

from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.domain.catalogue import RUN_VARIANTS
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.channels import N_CHANNELS, channel_indices
from cis490_pipeline.features.grids.row_file import RowFile
from cis490_pipeline.features.schema import FeatureSchema, grid_schema, require_same
from cis490_pipeline.storage.files import digest, file_sha256, read_object, write_json
from cis490_pipeline.storage.json_text import Json
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
        **{f"grid_{variant}": pl.String() for variant in RUN_VARIANTS},
    }
)
"""Columns of ``index.parquet``, one row per episode, in the order received (then host, id).

``sha256`` identifies an episode's content; ``grid_<variant>`` is the SHA-256 of the variant's
channels of its grid.
"""

INDEX_VERSION: Final = "2"
"""2: rows in the order received, with digests by variant; 1: rows in the order gridded."""


class GridManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a grid folder holds, and what its grids mean."""

    schema: dict[str, Json]
    schema_hash: str
    index_sha256: str
    shards: dict[str, str]
    """SHA-256 by name."""
    n_episodes: int
    digest: str
    """Of the episodes' contents in the index's order, and of what their grids mean."""


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
        manifest = read_manifest(folder)
        saved = FeatureSchema.from_dict(manifest.schema)
        require_same(folder, saved, grid_schema(), None)
        index_path = folder / INDEX_FILE
        if not index_path.is_file() or file_sha256(index_path) != manifest.index_sha256:
            raise DatasetError(
                f"{index_path}: missing, or not the index of its manifest; build the grids again"
            )
        self.frame = read_table(index_path)
        self.digest = manifest.digest
        self.shard_sha256 = manifest.shards
        self._maps: dict[str, Float32s] = {}

    def shard(self, name: str) -> Float32s:
        """Return one shard, memory-mapped: (n_rows, 46) time-major.

        DatasetError if the manifest does not list it, or its file is missing or malformed.
        """
        if name not in self._maps:
            self._maps[name] = self._open(name)
        return self._maps[name]

    def rows(self, name: str) -> RowFile:
        """Return one shard for random access to rows; raises like `shard`.

        Keeps no memory map, because a corpus has more shards than the limit on open files.
        """
        return RowFile.behind(self._open(name))

    def _open(self, name: str) -> Float32s:
        if name not in self.shard_sha256:
            raise DatasetError(f"{self.folder}: the manifest names no shard {name!r}")
        return open_shard(fetch_file(self.folder / name, self.shard_sha256[name]))

    def grid(self, episode_id: str) -> Float32s:
        """Return the grid of one episode: (n_steps, 46) log1p values, memory-mapped.

        Raises like `place`.
        """
        shard, row_start = self.place(episode_id)
        n_steps = self._places[episode_id][2]
        grid: Float32s = self.shard(shard)[row_start : row_start + n_steps]
        return grid

    def place(self, episode_id: str) -> tuple[str, int]:
        """Return the shard of an episode, and its first row there; DatasetError without one."""
        place = self._places.get(episode_id)
        if place is None:
            raise DatasetError(
                f"{self.folder}: no grid of episode {episode_id!r}; build the grids again"
            )
        return place[:2]

    @cached_property
    def _places(self) -> dict[str, tuple[str, int, int]]:
        rows = self.frame.select("episode_id", "shard", "row_start", "n_steps").iter_rows()
        return {episode_id: (shard, start, n) for episode_id, shard, start, n in rows}


def variant_digests(grid: Float32s) -> dict[str, str]:
    """SHA-256 of each variant's channels of a grid, by index column."""
    return {
        f"grid_{variant}": hashlib.sha256(
            np.ascontiguousarray(grid[:, channel_indices(variant)], dtype="<f4").data
        ).hexdigest()
        for variant in RUN_VARIANTS
    }


def grids_digest(frame: pl.DataFrame, schema: FeatureSchema) -> str:
    """Digest of the contents in order and of the schema, independent of the split into shards."""
    keys = frame.select("host_id", "episode_id", "sha256").rows()
    return digest({"schema": schema.hash, "episodes": [list(row) for row in keys]})


def open_shard(path: Path) -> Float32s:
    """Memory-map one shard: (n_rows, 46) time-major.

    DatasetError if it is missing or has another shape or type.
    """
    try:
        grids: Float32s = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not a grid shard ({error}); build the grids again") from error
    if grids.dtype != np.float32 or grids.ndim != 2 or grids.shape[1] != N_CHANNELS:
        raise DatasetError(
            f"{path}: holds {grids.dtype} of shape {grids.shape}, wanted float32 (n, {N_CHANNELS})"
        )
    return grids


def write_manifest(folder: Path, frame: pl.DataFrame, shards: Mapping[str, str]) -> None:
    """Write the manifest of an index that was just written; with it the grids exist."""
    schema = grid_schema()
    manifest = GridManifest(
        schema=schema.to_dict(),
        schema_hash=schema.hash,
        index_sha256=file_sha256(folder / INDEX_FILE),
        shards=dict(shards),
        n_episodes=frame.height,
        digest=grids_digest(frame, schema),
    )
    write_json(folder / MANIFEST_FILE, msgspec.to_builtins(manifest))


def read_manifest(folder: Path) -> GridManifest:
    """Read a grid folder's manifest; the files it names are not looked at.

    Raises
    ------
    DatasetError
        If it is missing or of another form.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise DatasetError(f"{path}: no grids here yet; run the sweep and build the grids first")
    try:
        return msgspec.convert(read_object(path), type=GridManifest)
    except msgspec.ValidationError as wrong:
        raise DatasetError(
            f"{path}: no manifest of grids: {wrong}; build the grids again"
        ) from wrong

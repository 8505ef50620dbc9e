"""Building of a recipe's two datasets: features as parquet, tensors as references to grids."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.compute.progress import Progress, no_progress
from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.domain.catalogue import DEFAULT_FEATURES, FlatKind, InputKind
from cis490_pipeline.features.channels import N_CHANNELS
from cis490_pipeline.features.columns import cut_rows, stored_names
from cis490_pipeline.features.datasets.duplicates import assert_no_near_duplicates
from cis490_pipeline.features.datasets.manifest import (
    DATASET_VERSION,
    DatasetManifest,
    VariantDigests,
    contents_digest,
    file_digests,
    write_manifest,
)
from cis490_pipeline.features.datasets.summary_rows import ROWS_SUFFIX
from cis490_pipeline.features.datasets.window_index import (
    SIDES,
    assert_no_leak,
    check_leaks,
    recipe_episodes,
    window_rows,
)
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.schema import feature_schema
from cis490_pipeline.features.windows import window_starts
from cis490_pipeline.storage.content_addressed import remove_superseded, write_named
from cis490_pipeline.storage.files import write_json
from cis490_pipeline.storage.parquet import write_parquet

SHARD_EPISODES: Final = 2048
SCHEMA_FILE: Final = "feature_schema_v1.json"
INDEX_FILE: Final = "index.parquet"

KEYS: Final = (
    "episode_id",
    "window_idx",
    "t_start_wall_ns",
    "t_end_wall_ns",
    "host_id",
    "profile",
    "sample_name",
    "split",
    "y",
    "purity",
    "baseline",
    "scorable",
)

BASELINE_DTYPE: Final = np.dtype(
    [("episode_id", "U26"), ("median", "<f4", N_CHANNELS), ("iqr", "<f4", N_CHANNELS)]
)
"""Record per episode in ``baselines-<digest>.npy``; windows are calibrated when read."""


def build_feature_dataset(
    grids: GridStore,
    index: pl.DataFrame,
    folder: Path,
    *,
    split_digest: str,
    kind: FlatKind = DEFAULT_FEATURES,
    progress: Progress = no_progress,
) -> DatasetManifest:
    """Write the features of every window of a recipe's validation index, uncalibrated.

    ``folder`` gets ``<side>-<n>-<digest>.parquet``, the schema, the baselines and, last, the
    manifest; parquet files that the new manifest does not list are removed. ``progress`` is
    informed of the episodes done.

    Raises
    ------
    DatasetError
        If the index does not match the grids, or an episode or its telemetry is on two sides.
    """
    episodes, windows = _checked_windows(grids, index)
    baselines = _baselines(episodes)
    digests = VariantDigests(kind, baselines)
    names = []
    done = 0
    progress("compute features", done, episodes.height)
    for side in SIDES:
        of_side = episodes.filter(side=side)
        for n, start in enumerate(range(0, of_side.height, SHARD_EPISODES)):
            shard = of_side.slice(start, SHARD_EPISODES)
            keys = windows.join(shard.select("episode_id"), on="episode_id", how="semi")
            X = np.concatenate(list(_rows(kind, grids, shard)))
            digests.add_keys(keys.select(KEYS))
            digests.add_rows(kind, X)
            features = pl.DataFrame(X, schema=list(stored_names(kind, Variant.ORACLE)))
            names.append(_write_features(folder, f"{side}-{n:05d}", features, keys))
            done += shard.height
            progress("compute features", done, episodes.height)
    names.append(_write_baselines(folder, baselines))
    manifest = _finish(folder, kind, grids, episodes, windows, names, digests, split_digest)
    remove_superseded(folder, ("*.parquet", "baselines-*.npy", f"*{ROWS_SUFFIX}"), names)
    return manifest


def build_tensor_dataset(
    grids: GridStore, index: pl.DataFrame, folder: Path, *, split_digest: str
) -> DatasetManifest:
    """Write the index of windows; their readings stay in the grid shards.

    An episode's position in the shards is looked up when windows are read, because it depends on
    when the episode was gridded, and training results must not. ``folder`` gets ``index.parquet``,
    the schema, the baselines and, last, the manifest; raises as ``build_feature_dataset``.
    """
    episodes, windows = _checked_windows(grids, index)
    baselines = _baselines(episodes)
    digests = VariantDigests("tensor", baselines)
    keys = windows.select(KEYS)
    digests.add_keys(keys)
    digests.add_grids(episodes)
    write_parquet(folder / INDEX_FILE, keys)
    names = [INDEX_FILE, _write_baselines(folder, baselines)]
    manifest = _finish(folder, "tensor", grids, episodes, windows, names, digests, split_digest)
    remove_superseded(folder, ("baselines-*.npy",), names)
    return manifest


def _checked_windows(grids: GridStore, index: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Select a recipe's episodes and windows, and raise if sides overlap."""
    episodes = recipe_episodes(grids.frame, index)
    windows = window_rows(episodes)
    assert_no_leak(windows)
    assert_no_near_duplicates(grids, episodes)
    return episodes, windows


def _write_features(folder: Path, stem: str, features: pl.DataFrame, keys: pl.DataFrame) -> str:
    buffer = io.BytesIO()
    pl.concat([keys.select(KEYS), features], how="horizontal").write_parquet(
        buffer, compression="zstd"
    )
    return write_named(folder, stem, ".parquet", buffer.getbuffer())


def _rows(kind: FlatKind, grids: GridStore, episodes: pl.DataFrame) -> Iterator[Float32s]:
    for episode_id, n_steps in episodes.select("episode_id", "n_steps").iter_rows():
        yield cut_rows(kind, grids.grid(episode_id), window_starts(n_steps))


def _baselines(episodes: pl.DataFrame) -> npt.NDArray[np.void]:
    records = np.zeros(episodes.height, dtype=BASELINE_DTYPE)
    records["episode_id"] = episodes["episode_id"].to_list()
    records["median"] = episodes["baseline_median"].to_list()
    records["iqr"] = episodes["baseline_iqr"].to_list()
    return records


def _write_baselines(folder: Path, records: npt.NDArray[np.void]) -> str:
    buffer = io.BytesIO()
    np.save(buffer, records, allow_pickle=False)
    return write_named(folder, "baselines", ".npy", buffer.getbuffer())


def _finish(
    folder: Path,
    kind: InputKind,
    grids: GridStore,
    episodes: pl.DataFrame,
    windows: pl.DataFrame,
    names: list[str],
    digests: VariantDigests,
    split_digest: str,
) -> DatasetManifest:
    """Write the schema, then the manifest, which completes the dataset."""
    schema = feature_schema(kind, Variant.ORACLE)
    write_json(folder / SCHEMA_FILE, schema.to_dict())
    manifest = DatasetManifest(
        version=DATASET_VERSION,
        kind=kind,
        schema_hash=schema.hash,
        split_digest=split_digest,
        contents=contents_digest(episodes),
        variants=digests.finished(),
        files=file_digests(folder, [*names, SCHEMA_FILE]),
        n_windows=_by_side(windows),
        n_windows_after_baseline=_by_side(windows.filter(~pl.col("baseline"))),
        n_episodes=_by_side(windows.unique("episode_id")),
        leaks=check_leaks(windows),
        grids_folder=Path(os.path.relpath(grids.folder, folder)).as_posix(),
    )
    return write_manifest(folder, manifest)


def _by_side(windows: pl.DataFrame) -> dict[str, int]:
    return {str(side): windows.filter(split=side).height for side in SIDES}

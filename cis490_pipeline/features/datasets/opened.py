"""A dataset opened and verified once per process: what windows, keys and calibrators start from."""

from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import Side, Variant
from cis490_pipeline.domain.catalogue import InputKind
from cis490_pipeline.errors import DatasetError, PipelineError
from cis490_pipeline.features.datasets.build import INDEX_FILE, SCHEMA_FILE
from cis490_pipeline.features.datasets.manifest import (
    DatasetManifest,
    contents_digest,
    file_digests,
    read_manifest_file,
)
from cis490_pipeline.features.datasets.summary_rows import ROWS_SUFFIX
from cis490_pipeline.features.grids.store import MANIFEST_FILE, GridStore
from cis490_pipeline.features.schema import FeatureSchema, feature_schema, require_same
from cis490_pipeline.storage.files import read_object

_KEPT: Final = 8
"""Datasets a process keeps open: two kinds of three splits, and a study's two."""

Stamp = tuple[str, int, int, int]
"""Name, inode, size and time of change of a file."""


class OpenDataset:
    """A dataset whose manifest, files and schema were verified; made by `open_dataset`."""

    def __init__(self, folder: Path, manifest: DatasetManifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @property
    def kind(self) -> InputKind:
        """Kind of its windows."""
        return self.manifest.kind

    def holds(self, kind: InputKind) -> bool:
        """Whether windows of a kind can be read from it.

        Summaries are part of the history, and features are cut from the grids behind tensors.
        """
        return self.kind in (kind, "tensor") or (kind, self.kind) == ("summary", "history")

    @cached_property
    def baselines(self) -> npt.NDArray[np.void]:
        """Baselines of all episodes, in the dataset's order.

        Memory-mapped: of a side's episodes alone is more than the name read.
        """
        name = next(name for name in self.manifest.files if name.startswith("baselines-"))
        path = self.folder / name
        baselines: npt.NDArray[np.void] = np.load(path, mmap_mode="r", allow_pickle=False)
        return baselines

    @property
    def grids(self) -> GridStore:
        """The grids its windows were cut from; opened again once more of them were made.

        Raises
        ------
        DatasetError
            If they no longer hold the dataset's episodes, or with other telemetry.
        """
        manifest = self.folder / self.manifest.grids_folder / MANIFEST_FILE
        return _grids_of(self, _stamp(manifest))

    def tables(self, side: Side | None = None) -> list[Path]:
        """Parquet files with the keys of a side's windows, or of all, in the windows' order.

        Raises
        ------
        DatasetError
            If the side has no file.
        """
        if self.kind == "tensor":
            return [self.folder / INDEX_FILE]
        start = "" if side is None else f"{side}-"
        names = [n for n in sorted(self.manifest.files) if n.endswith(".parquet")]
        found = [self.folder / name for name in names if name.startswith(start)]
        if not found:
            raise DatasetError(f"{self.folder}: no window on side {side}")
        return found


def open_dataset(folder: Path, kind: InputKind) -> OpenDataset:
    """Open a dataset, reading and hashing its files unless this process has done so.

    What was verified stays so while no file's size, inode or time of change differs: a run of the
    probes opens a dataset some twenty times, and a lab's takes a minute to hash.

    Raises
    ------
    DatasetError
        If it is missing, leaks, or a file is not what its manifest says; names it.
    SchemaMismatchError
        If its features mean something else than this code builds.
    """
    found = folder.iterdir() if folder.is_dir() else ()
    # Rows beside shards are a cache that verifies itself, and come while the dataset is open.
    stamps = sorted(_stamp(path) for path in found if path.suffix != ROWS_SUFFIX)
    return _verified(folder, kind, feature_schema(kind, Variant.ORACLE).hash, tuple(stamps))


def dataset_kind(folder: Path, wanted: InputKind) -> InputKind:
    """Return the kind to open a folder as for windows of a kind: history holds summaries too."""
    try:
        held = read_object(folder / MANIFEST_FILE).get("kind")
    except PipelineError:
        # Opening the dataset says what is wrong with it.
        return wanted
    return "history" if (wanted, held) == ("summary", "history") else wanted


@lru_cache(maxsize=_KEPT)
def _verified(
    folder: Path, kind: InputKind, schema_hash: str, stamps: tuple[Stamp, ...]
) -> OpenDataset:
    manifest = read_manifest_file(folder, kind)
    there = {name for name, *_ in stamps}
    found = file_digests(folder, manifest.files.keys() & there)
    changed = sorted(n for n, sha256 in manifest.files.items() if found.get(n) != sha256)
    if changed:
        raise DatasetError(
            f"{folder}: missing or changed since the manifest was written: {changed}; "
            "cut them again (cis490 extract --force)"
        )
    saved = FeatureSchema.from_dict(read_object(folder / SCHEMA_FILE))
    require_same(folder, saved, feature_schema(kind, Variant.ORACLE), None)
    if manifest.leaks != 0:
        raise DatasetError(f"{folder}: {manifest.leaks} leaks between sides; make the split again")
    return OpenDataset(folder, manifest)


@lru_cache(maxsize=_KEPT)
def _grids_of(dataset: OpenDataset, stamp: Stamp) -> GridStore:
    grids = GridStore(dataset.folder / dataset.manifest.grids_folder)
    ids = pl.Series("episode_id", dataset.baselines["episode_id"], pl.String)
    there = ids.to_frame().join(grids.frame, on="episode_id", maintain_order="left")
    if contents_digest(there) != dataset.manifest.contents:
        raise DatasetError(
            f"{dataset.folder}: the grids in {grids.folder} are not those its windows were cut "
            f"from (of its {len(ids)} episodes they hold {there.height}, or with other "
            "telemetry); build the tensor dataset again"
        )
    return grids


def _stamp(path: Path) -> Stamp:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return (path.name, 0, 0, 0)
    return (path.name, stat.st_ino, stat.st_size, stat.st_mtime_ns)

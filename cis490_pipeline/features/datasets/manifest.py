"""The manifest of a dataset: its form, the digest of each variant's part, reading and writing."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.catalogue import InputKind
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.channels import channel_indices
from cis490_pipeline.features.schema import feature_schema
from cis490_pipeline.features.summary import summary_columns
from cis490_pipeline.storage.files import digest, file_sha256, read_object, write_json

MANIFEST_FILE: Final = "manifest.json"

DATASET_VERSION: Final = 2
"""2: rows in the order received, places in shards looked up, digests by variant."""

_PIECE_ROWS: Final = 65_536
_NOT_CONTENT: Final = ("digest", "grids_folder")


class DatasetManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a dataset consists of, and of what it was made."""

    version: int
    kind: InputKind
    schema_hash: str
    """Of the features of all channels."""
    split_digest: str
    contents: str
    """Digest of the episodes and what they held; see :func:`contents_digest`."""
    variants: dict[str, str]
    """Digest of what a model of each variant reads: rows, labels, its columns, their meaning."""
    files: dict[str, str]
    """SHA-256 by name."""
    n_windows: dict[str, int]
    """By side, as the next two."""
    n_windows_after_baseline: dict[str, int]
    n_episodes: dict[str, int]
    leaks: int
    digest: str = ""
    """Of all fields but itself and the next."""
    grids_folder: str
    """A place, not a meaning: moving the data folder as a whole changes no digest."""

    def content_digest(self) -> str:
        """Compute what `digest` is to be."""
        content = msgspec.to_builtins(self)
        return digest({k: v for k, v in content.items() if k not in _NOT_CONTENT})


class VariantDigests:
    """Digests of what a model of each variant reads, taken while a dataset is written.

    A channel that only the lab records is in the oracle's alone: when it changes, what was trained
    without it is still current.
    """

    def __init__(self, kind: InputKind, baselines: npt.NDArray[np.void]) -> None:
        self._totals = {}
        for variant in Variant:
            total = self._totals[variant] = hashlib.sha256()
            total.update(feature_schema(kind, variant).hash.encode())
            for statistic in ("median", "iqr"):
                total.update(_little(baselines[statistic][:, channel_indices(variant)]))

    def add_keys(self, keys: pl.DataFrame) -> None:
        """Add rows and labels, which all variants share."""
        for piece in keys.iter_slices(_PIECE_ROWS):
            content = msgspec.json.encode(piece.rows())
            for total in self._totals.values():
                total.update(content)

    def add_summaries(self, X: npt.NDArray[np.float32]) -> None:
        """Add summaries of all channels: (n_windows, 230)."""
        for variant, total in self._totals.items():
            total.update(_little(X[:, summary_columns(channel_indices(variant))]))

    def add_grids(self, episodes: pl.DataFrame) -> None:
        """Add the grids that windows are cut from, by the digests of the grids' index."""
        for variant, total in self._totals.items():
            total.update(msgspec.json.encode(episodes[f"grid_{variant}"].to_list()))

    def finished(self) -> dict[str, str]:
        """Digest by variant."""
        return {str(variant): total.hexdigest() for variant, total in self._totals.items()}


def contents_digest(episodes: pl.DataFrame) -> str:
    """Digest of episodes and what each is known by, in their order: episode_id, sha256."""
    return digest([list(row) for row in episodes.select("episode_id", "sha256").iter_rows()])


def write_manifest(folder: Path, manifest: DatasetManifest) -> DatasetManifest:
    """Write a manifest with its own digest; with it the dataset exists."""
    complete = msgspec.structs.replace(manifest, digest=manifest.content_digest())
    write_json(folder / MANIFEST_FILE, msgspec.to_builtins(complete))
    return complete


def file_digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of files of a folder, by name."""
    return {name: file_sha256(folder / name) for name in sorted(names)}


def read_manifest_file(folder: Path, kind: InputKind) -> DatasetManifest:
    """Read a manifest and check its form, kind and digest; the files are not looked at.

    Raises
    ------
    DatasetError
        If it is missing, of another version or kind, or was edited.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise DatasetError(f"{path}: no dataset here yet; extract the recipe's features first")
    saved = read_object(path)
    again = "cut them again (cis490 extract --force)"
    if (version := saved.get("version", 1)) != DATASET_VERSION:
        raise DatasetError(
            f"{path}: version {version!r} of a dataset, wanted {DATASET_VERSION}; {again}"
        )
    try:
        manifest = msgspec.convert(saved, type=DatasetManifest)
    except msgspec.ValidationError as wrong:
        raise DatasetError(f"{path}: no manifest of a dataset: {wrong}; {again}") from wrong
    if manifest.content_digest() != manifest.digest or manifest.kind != kind:
        raise DatasetError(
            f"{path}: kind {manifest.kind!r}, wanted {kind!r}, with its own digest intact; {again}"
        )
    return manifest


def _little(values: npt.NDArray[np.float32]) -> memoryview:
    return np.ascontiguousarray(values, dtype="<f4").data

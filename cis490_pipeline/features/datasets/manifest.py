"""Dataset manifest: schema, digests by variant, reading and writing."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.catalogue import RUN_VARIANTS, FlatKind, InputKind
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.channels import channel_indices
from cis490_pipeline.features.columns import stored_columns
from cis490_pipeline.features.schema import feature_schema
from cis490_pipeline.storage.files import digest, file_sha256, read_object, write_json

MANIFEST_FILE: Final = "manifest.json"

DATASET_VERSION: Final = 2
"""2: rows in order of receipt, shard positions looked up on reading, digests by variant."""

_PIECE_ROWS: Final = 65_536
_NOT_CONTENT: Final = ("digest", "grids_folder")


class DatasetManifest(msgspec.Struct, frozen=True, kw_only=True):
    """Files of a dataset and the inputs it was made from."""

    version: int
    kind: InputKind
    schema_hash: str
    """Hash of the feature schema of all channels."""
    split_digest: str
    contents: str
    """Digest of the episodes and their contents; see :func:`contents_digest`."""
    variants: dict[str, str]
    """Digest of the part each variant of a run reads: rows, labels, its columns, their schema."""
    files: dict[str, str]
    """SHA-256 by file name."""
    n_windows: dict[str, int]
    """By side, like the next two."""
    n_windows_after_baseline: dict[str, int]
    n_episodes: dict[str, int]
    leaks: int
    digest: str = ""
    """Digest of all fields except itself and ``grids_folder``."""
    grids_folder: str
    """Relative path, not part of the digest, so that the data folder can be moved."""

    def content_digest(self) -> str:
        """Compute the value of `digest`."""
        content = msgspec.to_builtins(self)
        return digest({k: v for k, v in content.items() if k not in _NOT_CONTENT})


class VariantDigests:
    """Digests of the part each variant reads, accumulated while a dataset is written.

    A lab-only channel is only part of the oracle's digest, so that a change to it does not
    invalidate realistic models.
    """

    def __init__(self, kind: InputKind, baselines: npt.NDArray[np.void]) -> None:
        self._totals = {}
        for variant in RUN_VARIANTS:
            total = self._totals[variant] = hashlib.sha256()
            total.update(feature_schema(kind, variant).hash.encode())
            for statistic in ("median", "iqr"):
                total.update(_little(baselines[statistic][:, channel_indices(variant)]))

    def add_keys(self, keys: pl.DataFrame) -> None:
        """Add window keys and labels, which all variants share."""
        for piece in keys.iter_slices(_PIECE_ROWS):
            content = msgspec.json.encode(piece.rows())
            for total in self._totals.values():
                total.update(content)

    def add_rows(self, kind: FlatKind, X: npt.NDArray[np.float32]) -> None:
        """Add features of all channels: (n_windows, n_columns)."""
        for variant, total in self._totals.items():
            columns = stored_columns(kind, channel_indices(variant), kind)
            total.update(_little(X[:, columns]))

    def add_grids(self, episodes: pl.DataFrame) -> None:
        """Add the grids that windows are cut from, by their digests in the grid index."""
        for variant, total in self._totals.items():
            total.update(msgspec.json.encode(episodes[f"grid_{variant}"].to_list()))

    def finished(self) -> dict[str, str]:
        """Return the digests by variant."""
        return {str(variant): total.hexdigest() for variant, total in self._totals.items()}


def part_digest(parts: Mapping[str, str], kind: InputKind, variant: Variant) -> str | None:
    """Digest of the part of a dataset that a variant reads; None if the dataset has none.

    A network model reads some columns of what a realistic one reads. Its digest is derived from
    that, so that datasets need not be cut again for it; a changed guest reading changes it too.

    Parameters
    ----------
    parts : digests by variant, of a manifest or a record.
    """
    if variant is not Variant.NETWORK:
        return parts.get(str(variant))
    whole = parts.get(str(Variant.REALISTIC))
    return whole and digest({"schema": feature_schema(kind, variant).hash, "part_of": whole})


def contents_digest(episodes: pl.DataFrame) -> str:
    """Digest of the episodes' ids and content digests, in order."""
    return digest([list(row) for row in episodes.select("episode_id", "sha256").iter_rows()])


def write_manifest(folder: Path, manifest: DatasetManifest) -> DatasetManifest:
    """Write a manifest with its own digest, which completes the dataset."""
    complete = msgspec.structs.replace(manifest, digest=manifest.content_digest())
    write_json(folder / MANIFEST_FILE, msgspec.to_builtins(complete))
    return complete


def file_digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of some files of a folder, by name."""
    return {name: file_sha256(folder / name) for name in sorted(names)}


def read_manifest_file(folder: Path, kind: InputKind) -> DatasetManifest:
    """Read a manifest and check schema, kind and digest, but not the files.

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

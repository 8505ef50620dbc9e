"""Bounded, digest-checked reading of the files in a checkpoint folder."""

import hashlib
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from cis490_pipeline.checkpoints.checkpoint import FORMAT_VERSION
from cis490_pipeline.checkpoints.manifest import MANIFEST, MEMBER_LIMITS, Manifest, seal_of
from cis490_pipeline.domain import PHASES
from cis490_pipeline.errors import CheckpointError, StoreError
from cis490_pipeline.features.schema import FeatureSchema, require_same
from cis490_pipeline.storage.files import read_bounded
from cis490_pipeline.storage.json_text import Json, decode_json

NameT = TypeVar("NameT", bound=StrEnum)

AGAIN: Final = "copy or train it again"


def open_manifest(
    folder: Path,
    expected_schema: FeatureSchema | None,
    formats: Collection[int] = (FORMAT_VERSION,),
) -> tuple[Manifest, FeatureSchema]:
    """Read ``checkpoint.json`` and its feature schema, and check that this code can use them.

    Raises `CheckpointError` and `SchemaMismatchError` as ``examine`` does.
    """
    path, manifest = folder / MANIFEST, read_manifest(folder, formats)
    known = [str(phase) for phase in PHASES]
    if manifest.classes != known:
        raise CheckpointError(
            f"{folder}: predicts the classes {', '.join(manifest.classes)}, this code knows "
            f"{', '.join(known)} in this order; train the model again"
        )
    schema = FeatureSchema.from_dict(manifest.feature_schema)
    if schema.hash != manifest.feature_schema_hash:
        raise CheckpointError(
            f"{path}: feature_schema has digest {schema.hash:.12}, the file says "
            f"{manifest.feature_schema_hash:.12}; it was changed, {AGAIN}"
        )
    if (schema.kind, schema.variant) != (manifest.input_kind, manifest.variant):
        raise CheckpointError(
            f"{path}: a {manifest.variant} model of {manifest.input_kind} windows, "
            f"but its feature schema is of {schema.variant} {schema.kind}; train it again"
        )
    if expected_schema is not None:
        require_same(folder, schema, expected_schema, manifest.commit, older_rules=True)
    return manifest, schema


def read_manifest(folder: Path, formats: Collection[int] = (FORMAT_VERSION,)) -> Manifest:
    """Read ``checkpoint.json`` alone, which is cheap and identifies the model.

    Raises `CheckpointError` if it is missing, malformed, of another version, or was changed.
    """
    path = folder / MANIFEST
    content = read_file(path)
    try:
        saved = decode_json(content, dict[str, Json])
        version = saved.get("format_version")
        if type(version) is not int or version not in formats:
            raise CheckpointError(
                f"{path}: format_version is {version!r:.40}, this code reads {FORMAT_VERSION}; "
                "train the model again, or use the release that wrote it"
            )
        manifest = msgspec.convert(saved, type=Manifest)
    except msgspec.DecodeError as fault:
        raise CheckpointError(f"{path}: {fault}; {AGAIN}") from fault
    _require_seal(path, manifest, seal_of(saved))
    return manifest


def known_name(folder: Path, what: str, names: type[NameT], value: str) -> NameT:
    """Resolve a name in the manifest to an enumeration member, or raise `CheckpointError`."""
    try:
        return names(value)
    except ValueError as unknown:
        known = ", ".join(sorted(names))
        raise CheckpointError(
            f"{folder / MANIFEST}: {what} is {value!r:.60}, this code knows {known}; "
            "train the model again"
        ) from unknown


def _require_seal(path: Path, manifest: Manifest, seal: str) -> None:
    sealed = (manifest.seal, manifest.weights_digest)
    if manifest.format_version < 3:
        if sealed != (None, None):
            raise CheckpointError(f"{path}: format 2 has no seal; it was changed, {AGAIN}")
        return
    if manifest.seal != seal or manifest.weights_digest is None:
        raise CheckpointError(
            f"{path}: its content has digest {seal:.12}, its seal is {manifest.seal!s:.12}; "
            f"it was changed, {AGAIN}"
        )


def read_member(folder: Path, manifest: Manifest, name: str) -> bytes:
    """Read one file listed in the manifest.

    Raises `CheckpointError` if it is missing, too large, or does not match the manifest.
    """
    record = manifest.files[name]
    content = read_file(folder / name)
    actual = hashlib.sha256(content).hexdigest()
    if actual != record.sha256 or len(content) != record.bytes:
        raise CheckpointError(
            f"{folder / name}: sha256 is {actual:.12}, {MANIFEST} says {record.sha256:.12} "
            f"({len(content)} and {record.bytes} bytes); {AGAIN}"
        )
    return content


def read_file(path: Path) -> bytes:
    """Read a checkpoint file up to the size limit of its kind, or raise `CheckpointError`."""
    try:
        return read_bounded(path, MEMBER_LIMITS[path.name])
    except StoreError as fault:
        raise CheckpointError(
            f"{fault}; a checkpoint is written as a whole within its limits, so {AGAIN}"
        ) from fault

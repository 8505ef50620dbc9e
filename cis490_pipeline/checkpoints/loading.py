"""Reading a checkpoint: nothing is unpickled, nothing is trusted, and every refusal says why."""

import hashlib
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as safetensors_arrays

from cis490_pipeline.checkpoints.checkpoint import FORMAT_VERSION, Checkpoint, Golden
from cis490_pipeline.checkpoints.manifest import (
    BOOSTER,
    CALIBRATION,
    CLEANLINESS,
    GOLDEN,
    MANIFEST,
    MEMBER_LIMITS,
    ONNX,
    WEIGHTS,
    Manifest,
)
from cis490_pipeline.checkpoints.migrations import migrations_between
from cis490_pipeline.checkpoints.saving import require_finite
from cis490_pipeline.domain import PHASES, Architecture, Variant
from cis490_pipeline.errors import CalibrationError, CheckpointError
from cis490_pipeline.features.calibration import CalibrationMode, Calibrator, Scaling
from cis490_pipeline.features.cleanliness import CleanlinessCheck
from cis490_pipeline.features.gauges import GaugeTreatment
from cis490_pipeline.features.schema import FeatureSchema, require_same
from cis490_pipeline.store.json_text import decode_json

Members = dict[str, bytes]
NameT = TypeVar("NameT", Architecture, Variant)


def load_checkpoint(folder: Path, expected_schema: FeatureSchema | None) -> Checkpoint:
    """Read a checkpoint that is whole, unchanged, and made with the same features.

    Parameters
    ----------
    folder : as ``save_checkpoint`` wrote it; other files in it are not read.
    expected_schema : what this code builds; None only to look at a checkpoint, not to use it.

    Raises
    ------
    CheckpointError
        If a file is missing, too large or changed, the version or a class is unknown, or a
        weight is not finite.
    SchemaMismatchError
        If it was trained on other features; names the first difference and what to do. Features
        that only words tell apart, by a migration with its proof, are the same.
    """
    manifest, schema, migrated = open_manifest(folder, expected_schema)
    members = _read_members(folder, manifest)
    weights = _arrays(folder / WEIGHTS, members[WEIGHTS]) if WEIGHTS in members else {}
    require_finite(folder, weights)
    calibrator, cleanliness = calibration_of(folder, manifest, schema, members[CALIBRATION])
    checkpoint = Checkpoint(
        architecture=_named(folder, "architecture", Architecture, manifest.architecture),
        architecture_version=manifest.architecture_version,
        variant=_named(folder, "variant", Variant, manifest.variant),
        config=manifest.config,
        schema=schema,
        calibrator=calibrator,
        cleanliness=cleanliness,
        seed=manifest.seed,
        threads=manifest.threads,
        data_digest=manifest.data_digest,
        split_digest=manifest.split_digest,
        golden=golden_of(folder, members[GOLDEN]),
        weights=weights,
        booster=members.get(BOOSTER, b""),
        onnx=members.get(ONNX, b""),
        commit=manifest.commit,
        versions=manifest.versions,
        computed_on=manifest.computed_on,
        history=manifest.history,
        metrics=manifest.metrics,
        classes=tuple(manifest.classes),
        migrated=migrated,
    )
    if checkpoint.digest != manifest.digest:
        raise CheckpointError(
            f"{folder}: the content has digest {checkpoint.digest:.12}, {MANIFEST} says "
            f"{manifest.digest:.12}; it was changed, copy or train it again"
        )
    return checkpoint


def open_manifest(
    folder: Path, expected_schema: FeatureSchema | None
) -> tuple[Manifest, FeatureSchema, tuple[str, ...]]:
    """Read ``checkpoint.json`` and see that this code can use what it describes.

    Returns
    -------
    The manifest, its feature schema, and the migrations under which that one was let in.

    Raises
    ------
    CheckpointError, SchemaMismatchError
        As ``load_checkpoint``.
    """
    manifest = read_manifest(folder)
    _require_classes(folder, manifest)
    schema = FeatureSchema.from_dict(manifest.feature_schema)
    if schema.hash != manifest.feature_schema_hash:
        raise CheckpointError(
            f"{folder / MANIFEST}: feature_schema has digest {schema.hash:.12}, the file says "
            f"{manifest.feature_schema_hash:.12}; it was changed, copy or train it again"
        )
    if (schema.kind, schema.variant) != (manifest.input_kind, manifest.variant):
        raise CheckpointError(
            f"{folder / MANIFEST}: a {manifest.variant} model of {manifest.input_kind} windows, "
            f"but its feature schema is of {schema.variant} {schema.kind}; train it again"
        )
    migrated = None if expected_schema is None else migrations_between(schema, expected_schema)
    if expected_schema is not None and migrated is None:
        require_same(folder, schema, expected_schema, manifest.commit, older_rules=True)
    return manifest, schema, migrated or ()


def read_manifest(folder: Path) -> Manifest:
    """Read ``checkpoint.json`` alone; cheap, and enough to know what a folder holds.

    Raises
    ------
    CheckpointError
        If it is missing, of another version, or not of its form.
    """
    path = folder / MANIFEST
    content = _read(path)
    try:
        saved = decode_json(content, dict[str, Any])
        version = saved.get("format_version")
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"{path}: format_version is {version!r}, this code reads {FORMAT_VERSION}; "
                "train the model again, or use the release that wrote it"
            )
        return msgspec.convert(saved, type=Manifest)
    except msgspec.DecodeError as fault:
        raise CheckpointError(f"{path}: {fault}; copy or train it again") from fault


def _require_classes(folder: Path, manifest: Manifest) -> None:
    known = [str(phase) for phase in PHASES]
    if manifest.classes != known:
        raise CheckpointError(
            f"{folder}: predicts the classes {', '.join(manifest.classes)}, this code knows "
            f"{', '.join(known)} in this order; train the model again"
        )


def _read_members(folder: Path, manifest: Manifest) -> Members:
    """All files the manifest names, each checked for size and digest."""
    names = set(manifest.files)
    unknown = sorted(names - set(MEMBER_LIMITS))
    missing = sorted({CALIBRATION, GOLDEN} - names)
    if unknown or missing or len(names & {WEIGHTS, BOOSTER}) != 1:
        raise CheckpointError(
            f"{folder / MANIFEST}: lists the files {', '.join(sorted(names)) or 'none'}; wanted "
            f"{CALIBRATION}, {GOLDEN}, one of {WEIGHTS} or {BOOSTER}, and perhaps {ONNX}"
        )
    return {name: read_member(folder, manifest, name) for name in sorted(manifest.files)}


def read_member(folder: Path, manifest: Manifest, name: str) -> bytes:
    """Read one file that the manifest names.

    Raises
    ------
    CheckpointError
        If it is missing, too large, or not what the manifest says.
    """
    record = manifest.files[name]
    content = _read(folder / name)
    found = hashlib.sha256(content).hexdigest()
    if found != record.sha256:
        raise CheckpointError(
            f"{folder / name}: sha256 is {found:.12}, {MANIFEST} says {record.sha256:.12} "
            f"({len(content)} and {record.bytes} bytes); copy or train it again"
        )
    return content


def _read(path: Path) -> bytes:
    limit = MEMBER_LIMITS[path.name]
    if path.is_symlink() or not path.is_file():
        raise CheckpointError(
            f"{path}: no such file; a checkpoint is written as a whole, so copy or train it again"
        )
    # One byte more than allowed tells a file that is too large, even while it grows.
    with path.open("rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise CheckpointError(f"{path}: larger than {limit} bytes, which no checkpoint needs")
    return content


def _arrays(path: Path, content: bytes) -> dict[str, npt.NDArray[Any]]:
    try:
        return safetensors_arrays(content)
    except (SafetensorError, KeyError, ValueError, TypeError) as fault:
        raise CheckpointError(f"{path}: no readable safetensors file: {fault}") from fault


def _named(folder: Path, what: str, names: type[NameT], value: str) -> NameT:
    try:
        return names(value)
    except ValueError as unknown:
        known = ", ".join(sorted(names))
        raise CheckpointError(
            f"{folder / MANIFEST}: {what} is {value!r}, this code knows {known}"
        ) from unknown


def calibration_of(
    folder: Path, manifest: Manifest, schema: FeatureSchema, content: bytes
) -> tuple[Calibrator, CleanlinessCheck | None]:
    """Restore the calibrator and the cleanliness check from their file's bytes.

    Raises
    ------
    CheckpointError
        If they are damaged, or not what the manifest says.
    """
    path, said = folder / CALIBRATION, manifest.calibrator
    arrays = _arrays(path, content)
    of_check = {
        name.removeprefix(CLEANLINESS): arrays.pop(name)
        for name in sorted(arrays)
        if name.startswith(CLEANLINESS)
    }
    try:
        mode, gauges = CalibrationMode(said.mode), GaugeTreatment(said.gauges)
        calibrator = Calibrator.from_arrays(
            mode, schema.variant, schema.kind, arrays, gauges, Scaling(said.scaling)
        )
        check = CleanlinessCheck.from_arrays(of_check) if of_check else None
    except (CalibrationError, ValueError) as fault:
        raise CheckpointError(f"{path}: {fault}; train the model again") from fault
    if calibrator.digest != said.digest:
        raise CheckpointError(
            f"{path}: digest {calibrator.digest:.12}, {MANIFEST} says "
            f"{said.digest:.12}; copy or train it again"
        )
    found = check.digest if check is not None else None
    if found != said.cleanliness:
        raise CheckpointError(
            f"{path}: the cleanliness check has digest {found!s:.12}, {MANIFEST} says "
            f"{said.cleanliness!s:.12}; copy or train it again"
        )
    return calibrator, check


def golden_of(folder: Path, content: bytes) -> Golden:
    """Restore the golden windows from their file's bytes.

    Raises
    ------
    CheckpointError
        If it holds something else.
    """
    path = folder / GOLDEN
    arrays = _arrays(path, content)
    if sorted(arrays) != ["inputs", "probabilities"]:
        raise CheckpointError(f"{path}: holds {sorted(arrays)}, wanted inputs and probabilities")
    inputs, probabilities = arrays["inputs"], arrays["probabilities"]
    right_types = inputs.dtype == np.float32 and probabilities.dtype == np.float64
    if not right_types or probabilities.shape != (len(inputs), len(PHASES)):
        raise CheckpointError(
            f"{path}: inputs are {inputs.dtype} {inputs.shape} and probabilities "
            f"{probabilities.dtype} {probabilities.shape}; wanted float32 (n, …) and "
            f"float64 (n, {len(PHASES)})"
        )
    return Golden(inputs, probabilities)

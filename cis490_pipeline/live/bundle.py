"""Live bundle: one folder with models, calibration, alarm settings and a digest of each file."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import msgspec

from cis490_pipeline.alarm.alarm import AlarmSettings
from cis490_pipeline.checkpoints.alarm_file import ALARM_FILE, alarm_beside, read_alarm
from cis490_pipeline.checkpoints.checkpoint import FORMAT_VERSION
from cis490_pipeline.checkpoints.members import read_manifest
from cis490_pipeline.checkpoints.runnable import RUNNABLE_FILES, RunnableModel
from cis490_pipeline.checkpoints.versions import library_versions
from cis490_pipeline.domain import Architecture, Variant
from cis490_pipeline.domain.terms import model_name
from cis490_pipeline.errors import CheckpointError, EvaluationError, StoreError
from cis490_pipeline.features.calibration.record import (
    CalibrationRecord,
    read_record,
    write_record,
)
from cis490_pipeline.features.schema import FeatureSchema, grid_schema, require_same
from cis490_pipeline.live.loading import LoadedModels, load_models
from cis490_pipeline.storage.files import digest, read_bounded, swap_in, write_json
from cis490_pipeline.storage.json_text import Json, decode_json

MANIFEST: Final = "bundle.json"
FORMAT: Final = "live_bundle"
VERSION: Final = 2
"""Since version 2 it lists the models without an alarm, and an alarm names its model."""
_READ: Final = {1: (2, 3), 2: (FORMAT_VERSION,)}
"""Readable versions, with the checkpoint formats in them."""
RECORD: Final = "calibration.json"
_MODELS: Final = "models"
_MAX_FILE: Final = 256 << 20
_MAX_MANIFEST: Final = 4 << 20
_FILES_OF_MODEL: Final = (*RUNNABLE_FILES, ALARM_FILE)
_NAMES: Final = frozenset(model_name(a, v) for a in Architecture for v in Variant)
_REMEDY: Final = "copy the bundle again, or rebuild it: cis490 bundle"


class BundledFile(msgspec.Struct, forbid_unknown_fields=True):
    """Size and digest of one file of a bundle."""

    bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class BundleManifest(msgspec.Struct, forbid_unknown_fields=True):
    """``bundle.json``."""

    format: str
    version: int
    models: dict[str, str]
    """Checkpoint digest by model name."""
    feature_schema: dict[str, Json]
    """Schema of the grid that all features are computed from."""
    calibration: str | None
    """Id of the device's calibration record; null calibrates by the first 15 s."""
    versions: dict[str, str]
    """Library versions where it was built."""
    files: dict[str, BundledFile]
    digest: str
    """Digest of all other fields."""
    without_alarm: list[str] | None = None
    """Models that were not evaluated; since version 2."""

    def content_digest(self) -> str:
        """SHA-256 of all fields but ``digest``."""
        content = msgspec.to_builtins(self)
        if self.without_alarm is None:
            del content["without_alarm"]
        return digest({key: value for key, value in content.items() if key != "digest"})


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Verified content of a bundle."""

    manifest: BundleManifest
    loaded: LoadedModels
    record: CalibrationRecord | None


def write_bundle(
    out: Path, checkpoints: Sequence[Path], record: CalibrationRecord | None = None
) -> BundleManifest:
    """Build a bundle, and load it once before it replaces ``out``.

    Parameters
    ----------
    out : folder to create, or to replace if it is a bundle.
    checkpoints : model folders, each with its ``alarm.json`` if it was evaluated.
    record : calibration of the target device; None calibrates by its first 15 s.

    Raises
    ------
    CheckpointError
        If ``out`` holds something else, or a checkpoint cannot run without its weights.
    SchemaMismatchError
        If a checkpoint was trained on other features than this code builds.
    """
    out = out.resolve()
    if out.exists() and not (out / MANIFEST).is_file() and (out.is_file() or any(out.iterdir())):
        raise CheckpointError(f"{out}: exists and is no bundle; choose another folder")
    fresh = out.with_name(f".{out.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        manifest = _write(fresh, checkpoints, record)
        load_bundle(fresh)
        old = swap_in(fresh, out)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return manifest


def load_bundle(folder: Path) -> Bundle:
    """Open a bundle after verifying its files, its digests and its feature schema.

    Raises
    ------
    CheckpointError
        Naming the first file that is missing or changed, or the fault in ``bundle.json``.
    SchemaMismatchError
        If it was built for other features; names the first difference.
    CalibrationError
        If its calibration record is damaged.
    """
    manifest = _manifest(folder)
    saved = FeatureSchema.from_dict(manifest.feature_schema)
    require_same(folder, saved, grid_schema(), None, older_rules=True)
    _require_no_more(folder, manifest)
    for name, file in sorted(manifest.files.items()):
        _verify(folder / name, file)
    loaded = load_models(
        [folder / _MODELS / name for name in sorted(manifest.models)],
        alarm_of=_alarm_of(manifest),
        formats=_READ[manifest.version],
    )
    for place, model in zip(sorted(manifest.models), loaded.runnable, strict=True):
        if (model.name, model.manifest.digest) != (place, manifest.models[place]):
            raise CheckpointError(
                f"{folder}: {_MODELS}/{place} holds {model.name} with digest "
                f"{model.manifest.digest:.12}, {MANIFEST} says {manifest.models[place]:.12}; "
                f"{_REMEDY}"
            )
    record = None if manifest.calibration is None else read_record(folder / RECORD)
    if record is not None and record.id != manifest.calibration:
        raise CheckpointError(
            f"{folder / RECORD}: is the record {record.id:.12}, {MANIFEST} says "
            f"{manifest.calibration!s:.12}; {_REMEDY}"
        )
    if manifest.version != VERSION:
        loaded = replace(loaded, of_bundle=_notice(manifest))
    return Bundle(manifest=manifest, loaded=loaded, record=record)


def _notice(manifest: BundleManifest) -> str:
    return (
        f"a bundle of version {manifest.version}, in which nothing binds an alarm to its model, "
        "nor scores and settings to a network; rebuild it: cis490 bundle"
    )


def _alarm_of(manifest: BundleManifest) -> Callable[[Path, RunnableModel], AlarmSettings | None]:
    """Return a reader of alarms that opens only files the manifest names."""

    def read(folder: Path, model: RunnableModel) -> AlarmSettings | None:
        if f"{_MODELS}/{folder.name}/{ALARM_FILE}" not in manifest.files:
            return None
        path = folder / ALARM_FILE
        of_model = None if manifest.version == 1 else model.manifest.digest
        return read_alarm(path, _content(path, _MAX_FILE), of_model)

    return read


def _require_no_more(folder: Path, manifest: BundleManifest) -> None:
    """Refuse unlisted files with a name that is read."""
    possible = {f"{_MODELS}/{name}/{file}" for name in manifest.models for file in _FILES_OF_MODEL}
    for name in sorted(({RECORD} | possible) - manifest.files.keys()):
        path = folder / name
        if path.is_symlink() or path.exists():
            raise CheckpointError(f"{path}: {MANIFEST} does not list it; remove it, or {_REMEDY}")


def _write(
    folder: Path, checkpoints: Sequence[Path], record: CalibrationRecord | None
) -> BundleManifest:
    models: dict[str, str] = {}
    for checkpoint in checkpoints:
        saved = read_manifest(checkpoint)
        name = f"{saved.architecture}_{saved.variant}"
        if name in models:
            raise CheckpointError(f"{checkpoint}: {name} is given twice; give each model once")
        models[name] = saved.digest
        _copy(checkpoint, folder / _MODELS / name, saved.digest)
    if record is not None:
        write_record(folder / RECORD, record)
    manifest = BundleManifest(
        format=FORMAT,
        version=VERSION,
        models=models,
        feature_schema=grid_schema().to_dict(),
        calibration=None if record is None else record.id,
        versions=library_versions(),
        files={
            path.relative_to(folder).as_posix(): _described(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
        digest="",
        without_alarm=sorted(
            name for name in models if not (folder / _MODELS / name / ALARM_FILE).is_file()
        ),
    )
    manifest.digest = manifest.content_digest()
    # Written last: a folder without it is no bundle.
    write_json(folder / MANIFEST, msgspec.to_builtins(manifest))
    return manifest


def _copy(checkpoint: Path, folder: Path, model_digest: str) -> None:
    folder.mkdir(parents=True)
    for name in RUNNABLE_FILES:
        source = checkpoint / name
        if not source.is_file():
            raise CheckpointError(f"{source}: no such file; train the model again")
        shutil.copyfile(source, folder / name)
    try:
        settings = alarm_beside(checkpoint, model_digest)
    except EvaluationError as fault:
        raise CheckpointError(str(fault)) from fault
    if settings is not None:
        shutil.copyfile(checkpoint / ALARM_FILE, folder / ALARM_FILE)


def _described(path: Path) -> BundledFile:
    content = path.read_bytes()
    return BundledFile(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _manifest(folder: Path) -> BundleManifest:
    path = folder / MANIFEST
    content = _content(path, _MAX_MANIFEST)
    try:
        fields = decode_json(content, dict[str, Json])
        version = fields.get("version")
        if fields.get("format") != FORMAT or type(version) is not int or version not in _READ:
            raise CheckpointError(
                f"{path}: format {fields.get('format')!r:.40}, version {version!r:.40}; this "
                f"code reads {FORMAT!r}, version {VERSION}; rebuild the bundle"
            )
        manifest = msgspec.convert(fields, type=BundleManifest)
    except msgspec.DecodeError as fault:
        raise CheckpointError(f"{path}: {fault}; {_REMEDY}") from fault
    if manifest.content_digest() != manifest.digest:
        raise CheckpointError(
            f"{path}: says digest {manifest.digest:.12}, its content has "
            f"{manifest.content_digest():.12}; it was changed, {_REMEDY}"
        )
    _require_names(path, manifest)
    return manifest


def _require_names(path: Path, manifest: BundleManifest) -> None:
    """Refuse unknown models and files of no listed model: names become parts of paths."""
    unknown = sorted(manifest.models.keys() - _NAMES)
    if unknown or not manifest.models:
        raise CheckpointError(f"{path}: lists the models {unknown}, which this code does not know")
    possible = {f"{_MODELS}/{name}/{file}" for name in manifest.models for file in _FILES_OF_MODEL}
    possible |= {RECORD} if manifest.calibration is not None else set()
    needed = possible - _alarms_lacking(path, manifest)
    strange = sorted(manifest.files.keys() - possible)
    absent = sorted(needed - manifest.files.keys())
    if strange or absent:
        raise CheckpointError(f"{path}: lists {strange} and does not list {absent}; {_REMEDY}")


def _alarms_lacking(path: Path, manifest: BundleManifest) -> set[str]:
    """Alarm files that a bundle may lack: those of models listed as not evaluated."""
    models = set(manifest.models)
    if manifest.version == 1:
        return {f"{_MODELS}/{name}/{ALARM_FILE}" for name in models}
    if manifest.without_alarm is None or not models >= set(manifest.without_alarm):
        raise CheckpointError(f"{path}: does not list which of its models have an alarm; {_REMEDY}")
    lacking = {f"{_MODELS}/{name}/{ALARM_FILE}" for name in manifest.without_alarm}
    named = sorted(lacking & manifest.files.keys())
    if named:
        raise CheckpointError(f"{path}: lists {named[0]} of a model without an alarm; {_REMEDY}")
    return lacking


def _verify(path: Path, file: BundledFile) -> None:
    content = _content(path, _MAX_FILE)
    actual = hashlib.sha256(content).hexdigest()
    if actual != file.sha256 or len(content) != file.bytes:
        raise CheckpointError(
            f"{path}: sha256 is {actual:.12}, {MANIFEST} says {file.sha256:.12} "
            f"({len(content)} and {file.bytes} bytes); {_REMEDY}"
        )


def _content(path: Path, limit: int) -> bytes:
    try:
        return read_bounded(path, limit)
    except StoreError as fault:
        raise CheckpointError(
            f"{fault}; a bundle's files are whole and small; {_REMEDY}"
        ) from fault

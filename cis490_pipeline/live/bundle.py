"""One folder for a device: models, calibration, alarm settings, and the digest of each file."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from cis490_pipeline.checkpoints.loading import read_manifest
from cis490_pipeline.checkpoints.runnable import RUNNABLE_FILES
from cis490_pipeline.checkpoints.versions import library_versions
from cis490_pipeline.domain import Architecture, Variant
from cis490_pipeline.domain.terms import model_name
from cis490_pipeline.errors import CheckpointError
from cis490_pipeline.features.calibration_record import (
    CalibrationRecord,
    read_record,
    write_record,
)
from cis490_pipeline.features.schema import FeatureSchema, grid_schema, require_same
from cis490_pipeline.live.loading import ALARM_FILE, LoadedModels, load_models
from cis490_pipeline.store.files import digest, write_json
from cis490_pipeline.store.json_text import decode_json

MANIFEST: Final = "bundle.json"
FORMAT: Final = "live_bundle"
VERSION: Final = 1
RECORD: Final = "calibration.json"
_MODELS: Final = "models"
_MAX_FILE: Final = 256 << 20
_MAX_MANIFEST: Final = 4 << 20
_NAMES: Final = frozenset(model_name(a, v) for a in Architecture for v in Variant)
_AGAIN: Final = "copy the bundle again, or make it again: cis490 bundle"


class BundledFile(msgspec.Struct, forbid_unknown_fields=True):
    """One file of a bundle."""

    bytes: int
    sha256: str


class BundleManifest(msgspec.Struct, forbid_unknown_fields=True):
    """``bundle.json``."""

    format: str
    version: int
    models: dict[str, str]
    """Name of each model, and the digest of its checkpoint."""
    feature_schema: dict[str, Any]
    """Of the grid that all features are made from."""
    calibration: str | None
    """Id of the device's calibration record; null takes the first 15 s."""
    versions: dict[str, str]
    """Libraries where it was made."""
    files: dict[str, BundledFile]
    digest: str
    """Of all the rest."""

    def content_digest(self) -> str:
        """SHA-256 of what it says, the digest apart."""
        content = msgspec.to_builtins(self)
        return digest({key: value for key, value in content.items() if key != "digest"})


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A verified bundle."""

    manifest: BundleManifest
    loaded: LoadedModels
    record: CalibrationRecord | None


def write_bundle(
    out: Path, checkpoints: Sequence[Path], record: CalibrationRecord | None = None
) -> BundleManifest:
    """Make a bundle, and read it back before it appears.

    Parameters
    ----------
    out : its folder; made, or replaced if it is a bundle.
    checkpoints : folders of the models, each with its ``alarm.json`` if it was evaluated.
    record : calibration of the device it is for; None calibrates by its first 15 s.

    Raises
    ------
    CheckpointError
        If ``out`` holds something else, or a checkpoint cannot be run without its weights.
    SchemaMismatchError
        If a checkpoint was trained on other features than this code builds.
    """
    out = out.resolve()
    if out.exists() and not (out / MANIFEST).is_file() and (out.is_file() or any(out.iterdir())):
        raise CheckpointError(f"{out}: is there and is no bundle; choose another folder")
    fresh = out.with_name(f".{out.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        manifest = _write(fresh, checkpoints, record)
        load_bundle(fresh)
        _swap(fresh, out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return manifest


def load_bundle(folder: Path) -> Bundle:
    """Open a bundle that is whole, unchanged, and made for the features this code builds.

    Raises
    ------
    CheckpointError
        Naming the first file that is missing or changed, or what of ``bundle.json`` is wrong.
    SchemaMismatchError
        If it was made for other features; names the first difference.
    CalibrationError
        If its calibration record is damaged.
    """
    manifest = _manifest(folder)
    saved = FeatureSchema.from_dict(manifest.feature_schema)
    require_same(folder, saved, grid_schema(), None, older_rules=True)
    for name, file in sorted(manifest.files.items()):
        _verify(folder / name, file)
    loaded = load_models([folder / _MODELS / name for name in sorted(manifest.models)])
    for model in loaded.runnable:
        if model.manifest.digest != manifest.models[model.name]:
            raise CheckpointError(
                f"{folder}: {model.name} has digest {model.manifest.digest:.12}, {MANIFEST} says "
                f"{manifest.models[model.name]:.12}; {_AGAIN}"
            )
    record = None if manifest.calibration is None else read_record(folder / RECORD)
    return Bundle(manifest=manifest, loaded=loaded, record=record)


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
        _copy(checkpoint, folder / _MODELS / name)
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
    )
    manifest.digest = manifest.content_digest()
    # Last: a folder without it is no bundle.
    write_json(folder / MANIFEST, msgspec.to_builtins(manifest))
    return manifest


def _copy(checkpoint: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in (*RUNNABLE_FILES, ALARM_FILE):
        source = checkpoint / name
        if source.is_file():
            shutil.copyfile(source, folder / name)
        elif name != ALARM_FILE:
            raise CheckpointError(f"{source}: no such file; train the model again")


def _described(path: Path) -> BundledFile:
    content = path.read_bytes()
    return BundledFile(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _manifest(folder: Path) -> BundleManifest:
    path = folder / MANIFEST
    content = _content(path, _MAX_MANIFEST)
    try:
        told = decode_json(content, dict[str, Any])
        if (told.get("format"), told.get("version")) != (FORMAT, VERSION):
            raise CheckpointError(
                f"{path}: format {told.get('format')!r}, version {told.get('version')!r}; this "
                f"code reads {FORMAT!r}, version {VERSION}; make the bundle again"
            )
        manifest = msgspec.convert(told, type=BundleManifest)
    except msgspec.DecodeError as fault:
        raise CheckpointError(f"{path}: {fault}; {_AGAIN}") from fault
    if manifest.content_digest() != manifest.digest:
        raise CheckpointError(
            f"{path}: says digest {manifest.digest:.12}, its content has "
            f"{manifest.content_digest():.12}; it was changed, {_AGAIN}"
        )
    _require_names(path, manifest)
    return manifest


def _require_names(path: Path, manifest: BundleManifest) -> None:
    """Refuse models nobody knows, and files that are none of theirs: a name is part of a path."""
    unknown = sorted(manifest.models.keys() - _NAMES)
    if unknown:
        raise CheckpointError(f"{path}: names the models {unknown}, which this code does not know")
    possible = {
        f"{_MODELS}/{name}/{file}"
        for name in manifest.models
        for file in (*RUNNABLE_FILES, ALARM_FILE)
    }
    possible |= {RECORD} if manifest.calibration is not None else set()
    needed = {name for name in possible if not name.endswith(ALARM_FILE)}
    strange = sorted(manifest.files.keys() - possible)
    absent = sorted(needed - manifest.files.keys())
    if strange or absent:
        raise CheckpointError(f"{path}: lists {strange} and does not list {absent}; {_AGAIN}")


def _verify(path: Path, file: BundledFile) -> None:
    content = _content(path, _MAX_FILE)
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise CheckpointError(
            f"{path}: sha256 is {found:.12}, {MANIFEST} says {file.sha256:.12} "
            f"({len(content)} and {file.bytes} bytes); {_AGAIN}"
        )


def _content(path: Path, limit: int) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise CheckpointError(f"{path}: no such file; {_AGAIN}")
    with path.open("rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise CheckpointError(f"{path}: larger than {limit} bytes, which no bundle needs")
    return content


def _swap(fresh: Path, out: Path) -> None:
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    try:
        fresh.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)

"""Verification of a checkpoint folder, shared by all loaders.

A full checkpoint has weights and the part in a bundle has none; everything else is verified alike.
Digests detect damage and files that do not belong together. Because an attacker who writes all
files also writes the digests, the content itself is checked too: bounds, shapes, required parts,
the operators of the architecture, and the predictions on the golden windows.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeGuard

import numpy as np

from cis490_pipeline.checkpoints.checkpoint import (
    FORMAT_VERSION,
    GOLDEN_TOLERANCE,
    Arrays,
    Golden,
    arrays_digest,
    meaning_digest,
)
from cis490_pipeline.checkpoints.manifest import (
    BOOSTER,
    CALIBRATION,
    GOLDEN,
    MANIFEST,
    MEMBER_LIMITS,
    ONNX,
    WEIGHTS,
    Manifest,
)
from cis490_pipeline.checkpoints.members import AGAIN, known_name, open_manifest, read_member
from cis490_pipeline.checkpoints.onnx.check import require_plain_onnx
from cis490_pipeline.checkpoints.onnx.session import OnnxClassifier
from cis490_pipeline.checkpoints.onnx.trial import require_runs
from cis490_pipeline.checkpoints.parts import read_calibration, read_golden
from cis490_pipeline.checkpoints.saving import require_finite
from cis490_pipeline.checkpoints.tensors import read_tensors
from cis490_pipeline.domain import Architecture, Variant
from cis490_pipeline.domain.catalogue import ARCHITECTURE_VERSIONS, INPUT_KINDS
from cis490_pipeline.errors import CheckpointError
from cis490_pipeline.features.calibration.calibrator import Calibrator
from cis490_pipeline.features.calibration.cleanliness import CleanlinessCheck
from cis490_pipeline.features.schema import FeatureSchema
from cis490_pipeline.storage.json_text import Json

_SCORE_TOLERANCE: Final = 0.1
"""Allowed deviation of a validation score from the history: a window or two differ by processor."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Examined:
    """A verified checkpoint folder."""

    folder: Path
    manifest: Manifest
    schema: FeatureSchema
    architecture: Architecture
    variant: Variant
    calibrator: Calibrator
    cleanliness: CleanlinessCheck | None
    golden: Golden
    weights: Arrays
    booster: bytes
    onnx: bytes
    digest_checked: bool
    """Whether the digest was recomputed; impossible without weights in format 2."""


def examine(
    folder: Path,
    expected_schema: FeatureSchema | None,
    *,
    whole: bool,
    formats: Collection[int] = (FORMAT_VERSION,),
) -> Examined:
    """Read and verify a checkpoint's files.

    Parameters
    ----------
    expected_schema : the schema this code builds; None to inspect a checkpoint without using it.
    whole : whether weights are required; otherwise the ONNX model is.
    formats : accepted manifest versions.

    Raises
    ------
    CheckpointError
        Naming the first invalid file or value.
    SchemaMismatchError
        If it was trained on other features; names the first difference and the remedy.
    """
    manifest, schema = open_manifest(folder, expected_schema, formats)
    architecture, variant = _names(folder, manifest, whole=whole)
    _require_files(folder, manifest, architecture, whole=whole)
    _require_scores(folder, manifest)
    calibrator, cleanliness = read_calibration(folder, manifest, schema)
    weights = _weights(folder, manifest) if whole else _unread(folder, manifest)
    digest_checked = _require_digest(folder, manifest, calibrator, cleanliness, weights)
    booster = read_member(folder, manifest, BOOSTER) if whole and BOOSTER in manifest.files else b""
    onnx = b""
    if ONNX in manifest.files:
        onnx = read_member(folder, manifest, ONNX)
        try:
            require_plain_onnx(onnx, architecture)
        except CheckpointError as fault:
            raise CheckpointError(f"{folder}: {fault}") from fault
    return Examined(
        folder=folder,
        manifest=manifest,
        schema=schema,
        architecture=architecture,
        variant=variant,
        calibrator=calibrator,
        cleanliness=cleanliness,
        golden=read_golden(folder, manifest, schema),
        weights=weights,
        booster=booster,
        onnx=onnx,
        digest_checked=digest_checked,
    )


def classifiers(examined: Sequence[Examined], *, threads: int = 1) -> list[OnnxClassifier | None]:
    """Open the ONNX models of checkpoints and verify each on its golden windows.

    Returns None for a checkpoint without an export. Raises `CheckpointError` if one cannot run,
    does not terminate, or does not reproduce its golden windows.
    """
    require_runs([(str(one.folder), one.onnx, one.golden.inputs) for one in examined if one.onnx])
    return [_classifier(one, threads) if one.onnx else None for one in examined]


def _classifier(examined: Examined, threads: int) -> OnnxClassifier:
    folder, golden = examined.folder, examined.golden
    try:
        classifier = OnnxClassifier(examined.onnx, threads=threads, checked=True)
    except CheckpointError as fault:
        raise CheckpointError(f"{folder}: {fault}") from fault
    if classifier.shape != golden.inputs.shape[1:]:
        raise CheckpointError(
            f"{folder / ONNX}: takes windows of {classifier.shape}, wanted "
            f"{golden.inputs.shape[1:]}; {AGAIN}"
        )
    answers = classifier.predict_proba(golden.inputs)
    shapes = answers.shape, golden.probabilities.shape
    difference = float(np.abs(answers - golden.probabilities).max()) if len({*shapes}) == 1 else 1.0
    # Written so that NaN fails.
    if not difference <= GOLDEN_TOLERANCE:
        raise CheckpointError(
            f"{folder / ONNX}: its golden windows differ by {difference:.3g} in a probability on "
            f"this machine, allowed is {GOLDEN_TOLERANCE:g}; trained with "
            f"{dict(examined.manifest.versions)}"
        )
    return classifier


def _names(folder: Path, manifest: Manifest, *, whole: bool) -> tuple[Architecture, Variant]:
    architecture = known_name(folder, "architecture", Architecture, manifest.architecture)
    variant = known_name(folder, "variant", Variant, manifest.variant)
    version, newest = manifest.architecture_version, ARCHITECTURE_VERSIONS[architecture]
    # An ONNX model runs without the code that built it; weights need the same version.
    if not 1 <= version <= newest or (whole and version != newest):
        raise CheckpointError(
            f"{folder / MANIFEST}: trained by version {version} of {architecture}, this code is "
            f"version {newest}; train it again"
            + (f", or check out commit {manifest.commit:.7}" if manifest.commit else "")
        )
    if manifest.input_kind not in (kinds := INPUT_KINDS[architecture]):
        raise CheckpointError(
            f"{folder / MANIFEST}: {architecture} takes {' or '.join(kinds)} windows, this one "
            f"{manifest.input_kind}; {AGAIN}"
        )
    return architecture, variant


def _require_files(
    folder: Path, manifest: Manifest, architecture: Architecture, *, whole: bool
) -> None:
    """Raise if a file of this architecture is not listed, or a checkpoint file has no entry."""
    names = set(manifest.files)
    learnt = BOOSTER if architecture is Architecture.GBT else WEIGHTS
    needed = {CALIBRATION, GOLDEN, learnt} | (set() if whole else {ONNX})
    if not needed <= names or not names <= needed | {ONNX}:
        shown = ", ".join(sorted(names)[:10]) or "none"
        raise CheckpointError(
            f"{folder / MANIFEST}: lists the files {shown:.300}; wanted "
            f"{', '.join(sorted(needed))} of {architecture}, and perhaps {ONNX}; {AGAIN}"
        )
    beside = sorted(set(MEMBER_LIMITS) - names - {MANIFEST})
    strange = [name for name in beside if (folder / name).is_symlink() or (folder / name).exists()]
    if strange:
        raise CheckpointError(
            f"{folder / strange[0]}: {MANIFEST} does not name it; remove it, or {AGAIN}"
        )


def _require_scores(folder: Path, manifest: Manifest) -> None:
    """Raise unless validation scores are valid and match the training history."""
    for name, value in manifest.metrics.items():
        if name.endswith("macro_f1") and not _is_share(value):
            raise CheckpointError(f"{folder / MANIFEST}: {name} is {value!r:.40}; {AGAIN}")
    score, best = manifest.metrics.get("val_macro_f1"), manifest.history.get("best_val_macro_f1")
    if score is None or best is None:
        return
    if not (_is_share(score) and _is_share(best) and abs(score - best) <= _SCORE_TOLERANCE):
        raise CheckpointError(
            f"{folder / MANIFEST}: val_macro_f1 is {score!r}, its training's best was "
            f"{best!r:.40}; it was changed, {AGAIN}"
        )


def _is_share(value: Json) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _weights(folder: Path, manifest: Manifest) -> Arrays:
    if WEIGHTS not in manifest.files:
        return {}
    weights = read_tensors(folder / WEIGHTS, read_member(folder, manifest, WEIGHTS))
    require_finite(folder, weights)
    actual = arrays_digest(weights).hex()
    if manifest.weights_digest not in (None, actual):
        raise CheckpointError(
            f"{folder / WEIGHTS}: the content has digest {actual:.12}, {MANIFEST} says "
            f"{manifest.weights_digest:.12}; it was changed, {AGAIN}"
        )
    return weights


def _unread(folder: Path, manifest: Manifest) -> Arrays:
    """Check present weight files against the manifest without parsing them."""
    for name in (WEIGHTS, BOOSTER):
        path = folder / name
        if name in manifest.files and (path.is_symlink() or path.exists()):
            read_member(folder, manifest, name)
    return {}


def _require_digest(
    folder: Path,
    manifest: Manifest,
    calibrator: Calibrator,
    cleanliness: CleanlinessCheck | None,
    weights: Arrays,
) -> bool:
    """Recompute the model's digest, without weights from their recorded digests."""
    trees = BOOSTER in manifest.files
    if manifest.weights_digest is not None:
        of_weights = bytes.fromhex(manifest.weights_digest)
    elif weights or trees:
        of_weights = arrays_digest(weights)
    else:
        return False
    of_booster = manifest.files[BOOSTER].sha256 if trees else hashlib.sha256(b"").hexdigest()
    meaning: dict[str, Json] = {
        "architecture": manifest.architecture,
        "architecture_version": manifest.architecture_version,
        "calibrator": calibrator.digest,
        "classes": manifest.classes,
        "cleanliness": cleanliness.digest if cleanliness is not None else None,
        "config": manifest.config,
        "feature_schema": manifest.feature_schema_hash,
        "format_version": manifest.format_version,
        "variant": manifest.variant,
    }
    actual = meaning_digest(meaning, booster=bytes.fromhex(of_booster), weights=of_weights)
    if actual != manifest.digest:
        raise CheckpointError(
            f"{folder}: the content has digest {actual:.12}, {MANIFEST} says "
            f"{manifest.digest:.12}; it was changed, {AGAIN}"
        )
    return True

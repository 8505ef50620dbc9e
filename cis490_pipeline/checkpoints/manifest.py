"""Manifest ``checkpoint.json``: everything in a checkpoint except its arrays."""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from cis490_pipeline.checkpoints.checkpoint import FORMAT_VERSION, Checkpoint, arrays_digest
from cis490_pipeline.domain.terms import Setting
from cis490_pipeline.storage.files import digest
from cis490_pipeline.storage.json_text import Json

MANIFEST: Final = "checkpoint.json"
WEIGHTS: Final = "weights.safetensors"
BOOSTER: Final = "model.ubj"
CALIBRATION: Final = "calibration.safetensors"
GOLDEN: Final = "golden.safetensors"
ONNX: Final = "model.onnx"
CLEANLINESS: Final = "cleanliness."
"""Prefix of the cleanliness check's arrays in the calibration file."""

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]

_MIB: Final = 2**20
MEMBER_LIMITS: Final = {
    MANIFEST: 16 * _MIB,
    WEIGHTS: 1024 * _MIB,
    BOOSTER: 1024 * _MIB,
    CALIBRATION: 4 * _MIB,
    GOLDEN: 64 * _MIB,
    ONNX: 1024 * _MIB,
}
"""Files of a checkpoint with the maximal size read, bytes."""


class CalibratorRecord(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Calibrator settings; its arrays are in ``calibration.safetensors``."""

    mode: str
    gauges: str
    scaling: str
    digest: str
    cleanliness: str | None
    """Digest of the cleanliness check; its arrays are in the same file."""
    quarantine: list[str] = []
    """Channels the model does not see; absent where there are none."""


class FileRecord(msgspec.Struct, forbid_unknown_fields=True):
    """Size and digest of one file of the folder."""

    bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Sha256


class Manifest(msgspec.Struct, forbid_unknown_fields=True):
    """Content of ``checkpoint.json``."""

    format_version: int
    architecture: str
    architecture_version: int
    variant: str
    input_kind: str
    classes: list[str]
    config: dict[str, Setting]
    feature_schema: dict[str, Json]
    feature_schema_hash: str
    calibrator: CalibratorRecord
    seed: int
    threads: int
    versions: dict[str, str]
    commit: str | None
    data_digest: str
    split_digest: str
    history: dict[str, Json]
    metrics: dict[str, float | int | str | None]
    files: dict[str, FileRecord]
    digest: str
    computed_on: dict[str, str] = {}
    """Processor and kernels at training; absent from older checkpoints."""
    weights_digest: Sha256 | None = None
    """Digest of a network's arrays (of none for trees); since format 3."""
    seal: Sha256 | None = None
    """SHA-256 of all other content; since format 3."""


def manifest_of(checkpoint: Checkpoint, files: dict[str, FileRecord]) -> Manifest:
    """Build the manifest of a checkpoint whose other files are written, given by name."""
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        architecture=str(checkpoint.architecture),
        architecture_version=checkpoint.architecture_version,
        variant=str(checkpoint.variant),
        input_kind=checkpoint.input_kind,
        classes=list(checkpoint.classes),
        config=dict(checkpoint.config),
        feature_schema=checkpoint.schema.to_dict(),
        feature_schema_hash=checkpoint.schema.hash,
        calibrator=CalibratorRecord(
            mode=str(checkpoint.calibrator.mode),
            gauges=str(checkpoint.calibrator.gauges),
            scaling=str(checkpoint.calibrator.scaling),
            digest=checkpoint.calibrator.digest,
            cleanliness=checkpoint.cleanliness.digest if checkpoint.cleanliness else None,
            quarantine=list(checkpoint.calibrator.quarantine),
        ),
        seed=checkpoint.seed,
        threads=checkpoint.threads,
        versions=dict(checkpoint.versions),
        commit=checkpoint.commit,
        data_digest=checkpoint.data_digest,
        split_digest=checkpoint.split_digest,
        history=msgspec.to_builtins(checkpoint.history),
        metrics=dict(checkpoint.metrics),
        files=files,
        digest=checkpoint.digest,
        computed_on=dict(checkpoint.computed_on),
        weights_digest=arrays_digest(checkpoint.weights).hex(),
    )
    manifest.seal = seal_of(msgspec.to_builtins(manifest))
    return manifest


def seal_of(content: Mapping[str, Json]) -> str:
    """SHA-256 of a manifest's JSON content without the seal."""
    return digest({key: value for key, value in content.items() if key != "seal"})

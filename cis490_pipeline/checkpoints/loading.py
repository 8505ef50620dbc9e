"""Checkpoint loading: untrusted input, verified in full, nothing unpickled."""

from pathlib import Path
from typing import cast

from cis490_pipeline.checkpoints.checkpoint import Checkpoint, SavedHistory
from cis490_pipeline.checkpoints.verification import classifiers, examine
from cis490_pipeline.features.schema import FeatureSchema


def load_checkpoint(folder: Path, expected_schema: FeatureSchema | None) -> Checkpoint:
    """Load a checkpoint after verifying integrity, version and feature schema, as `examine` does.

    Unrelated files in the folder are ignored. Raises `CheckpointError` also if the ONNX model does
    not reproduce its golden windows.
    """
    examined = examine(folder, expected_schema, whole=True)
    classifiers([examined])
    manifest = examined.manifest
    return Checkpoint(
        architecture=examined.architecture,
        architecture_version=manifest.architecture_version,
        variant=examined.variant,
        config=manifest.config,
        schema=examined.schema,
        calibrator=examined.calibrator,
        cleanliness=examined.cleanliness,
        seed=manifest.seed,
        threads=manifest.threads,
        data_digest=manifest.data_digest,
        split_digest=manifest.split_digest,
        golden=examined.golden,
        weights=examined.weights,
        booster=examined.booster,
        onnx=examined.onnx,
        commit=manifest.commit,
        versions=manifest.versions,
        computed_on=manifest.computed_on,
        history=cast(SavedHistory, manifest.history),
        metrics=manifest.metrics,
        classes=tuple(manifest.classes),
    )

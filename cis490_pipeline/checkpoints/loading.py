"""Checkpoint loading: untrusted input, verified in full, nothing unpickled."""

from pathlib import Path
from typing import cast

from cis490_pipeline.checkpoints.checkpoint import Checkpoint, SavedHistory
from cis490_pipeline.checkpoints.verification import classifiers, examine
from cis490_pipeline.features.schema import FeatureSchema


def load_checkpoint(folder: Path, expected_schema: FeatureSchema | None) -> Checkpoint:
    """Load a checkpoint after verifying integrity, version and feature schema.

    Parameters
    ----------
    folder : written by ``save_checkpoint``; unrelated files in it are ignored.
    expected_schema : the schema this code builds; None to inspect a checkpoint without using it.

    Raises
    ------
    CheckpointError
        If a file is missing, too large or changed, the version or a class is unknown, a value is
        out of bounds, or the ONNX model does not reproduce its golden windows.
    SchemaMismatchError
        If it was trained on other features; names the first difference and the remedy.
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

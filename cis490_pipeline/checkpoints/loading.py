"""Reading a checkpoint: nothing is unpickled, nothing is trusted, and every refusal says why."""

from pathlib import Path

from cis490_pipeline.checkpoints.checkpoint import Checkpoint
from cis490_pipeline.checkpoints.verification import classifiers, examine
from cis490_pipeline.features.schema import FeatureSchema


def load_checkpoint(folder: Path, expected_schema: FeatureSchema | None) -> Checkpoint:
    """Read a checkpoint that is whole, unchanged, and made with the same features.

    Parameters
    ----------
    folder : as ``save_checkpoint`` wrote it; what else lies in it and is no part of a checkpoint is
        not read.
    expected_schema : what this code builds; None only to look at a checkpoint, not to use it.

    Raises
    ------
    CheckpointError
        If a file is missing, too large or changed, the version or a class is unknown, a value is
        out of bounds, or its ONNX model does not answer its golden windows as it was trained to.
    SchemaMismatchError
        If it was trained on other features; names the first difference and what to do.
    """
    found = examine(folder, expected_schema, whole=True)
    classifiers([found])
    manifest = found.manifest
    return Checkpoint(
        architecture=found.architecture,
        architecture_version=manifest.architecture_version,
        variant=found.variant,
        config=manifest.config,
        schema=found.schema,
        calibrator=found.calibrator,
        cleanliness=found.cleanliness,
        seed=manifest.seed,
        threads=manifest.threads,
        data_digest=manifest.data_digest,
        split_digest=manifest.split_digest,
        golden=found.golden,
        weights=found.weights,
        booster=found.booster,
        onnx=found.onnx,
        commit=manifest.commit,
        versions=manifest.versions,
        computed_on=manifest.computed_on,
        history=manifest.history,
        metrics=manifest.metrics,
        classes=tuple(manifest.classes),
    )

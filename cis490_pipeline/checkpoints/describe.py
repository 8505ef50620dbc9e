"""Human-readable description of a checkpoint folder."""

from pathlib import Path
from typing import NotRequired, TypedDict

from cis490_pipeline.checkpoints.checkpoint import SavedEpoch
from cis490_pipeline.checkpoints.loading import load_checkpoint
from cis490_pipeline.domain.terms import Setting


class Description(TypedDict):
    """A checkpoint's model, training data and settings, as JSON values."""

    model: str
    architecture_version: int
    input: str
    classes: list[str]
    parameters: int
    booster_bytes: int
    onnx_bytes: int
    calibration: str
    calibrator_digest: str
    scaling: str
    drifting_gauges: str
    quarantine: NotRequired[list[str]]
    cleanliness_check: str | None
    cleanliness_references: int
    feature_schema: str
    data_digest: str
    split_digest: str
    digest: str
    seed: int
    threads: int
    commit: str | None
    versions: dict[str, str]
    computed_on: dict[str, str]
    config: dict[str, Setting]
    val_metrics: dict[str, float | int | str | None]
    epochs: int
    best_epoch: int | None
    golden_windows: int


def describe(folder: Path) -> Description:
    """Describe a checkpoint's model, training data and settings.

    Raises `CheckpointError` if it is damaged: a description of untrusted content would mislead.
    """
    checkpoint = load_checkpoint(folder, None)
    history, check = checkpoint.history, checkpoint.cleanliness
    description: Description = {
        "model": checkpoint.name,
        "architecture_version": checkpoint.architecture_version,
        "input": f"{checkpoint.input_kind}, {checkpoint.golden.inputs.shape[1:]}",
        "classes": list(checkpoint.classes),
        "parameters": sum(int(array.size) for array in checkpoint.weights.values()),
        "booster_bytes": len(checkpoint.booster),
        "onnx_bytes": len(checkpoint.onnx),
        "calibration": str(checkpoint.calibrator.mode),
        "calibrator_digest": checkpoint.calibrator.digest,
        "scaling": str(checkpoint.calibrator.scaling),
        "drifting_gauges": str(checkpoint.calibrator.gauges),
        "cleanliness_check": check.digest if check is not None else None,
        "cleanliness_references": check.references.size if check is not None else 0,
        "feature_schema": checkpoint.schema.hash,
        "data_digest": checkpoint.data_digest,
        "split_digest": checkpoint.split_digest,
        "digest": checkpoint.digest,
        "seed": checkpoint.seed,
        "threads": checkpoint.threads,
        "commit": checkpoint.commit,
        "versions": dict(checkpoint.versions),
        "computed_on": dict(checkpoint.computed_on),
        "config": dict(checkpoint.config),
        "val_metrics": dict(checkpoint.metrics),
        "epochs": len(history.get("epochs", [])),
        "best_epoch": history.get("best_epoch"),
        "golden_windows": len(checkpoint.golden.inputs),
    }
    if checkpoint.calibrator.quarantine:
        description["quarantine"] = list(checkpoint.calibrator.quarantine)
    return description


def epochs_of(folder: Path) -> list[SavedEpoch]:
    """Return the training history: one row per epoch or boosting round."""
    return list(load_checkpoint(folder, None).history.get("epochs", []))

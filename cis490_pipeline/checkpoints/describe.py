"""Human-readable description of a checkpoint folder."""

from pathlib import Path
from typing import Any

from cis490_pipeline.checkpoints.loading import load_checkpoint


def describe(folder: Path) -> dict[str, Any]:
    """Describe a checkpoint's model, training data and settings as JSON values.

    Raises
    ------
    CheckpointError
        If it is damaged: a description of untrusted content would mislead.
    """
    checkpoint = load_checkpoint(folder, None)
    history, check = checkpoint.history, checkpoint.cleanliness
    return {
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


def epochs_of(folder: Path) -> list[dict[str, Any]]:
    """Return the training history: one row per epoch or boosting round.

    Raises
    ------
    CheckpointError
        If it is damaged.
    """
    return list(load_checkpoint(folder, None).history.get("epochs", []))

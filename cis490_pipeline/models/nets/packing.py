"""Conversion of a fitted model to a checkpoint."""

import numpy as np
import numpy.typing as npt

from cis490_pipeline.checkpoints.checkpoint import Checkpoint, Golden, Metrics
from cis490_pipeline.checkpoints.onnx.trial import note_run
from cis490_pipeline.checkpoints.processor import computed_on
from cis490_pipeline.checkpoints.versions import library_versions
from cis490_pipeline.domain.catalogue import ARCHITECTURE_VERSIONS
from cis490_pipeline.errors import CheckpointError
from cis490_pipeline.features.calibration.calibrator import Calibrator
from cis490_pipeline.features.calibration.cleanliness import CleanlinessCheck
from cis490_pipeline.features.schema import FeatureSchema
from cis490_pipeline.models.base import BaseModel
from cis490_pipeline.models.export.onnx import export_onnx


def pack(
    model: BaseModel,
    *,
    schema: FeatureSchema,
    calibrator: Calibrator,
    golden_windows: npt.NDArray[np.float32],
    data_digest: str,
    split_digest: str,
    metrics: Metrics,
    commit: str | None,
    cleanliness: CleanlinessCheck | None = None,
    with_onnx: bool = True,
) -> Checkpoint:
    """Build a checkpoint from a fitted model.

    Parameters
    ----------
    schema, calibrator : of the model's input.
    golden_windows : (n, *shape) a few calibrated windows, on which every load must reproduce the
        current predictions.
    data_digest, split_digest : dataset and split of the training.
    metrics : validation scores.
    cleanliness : detects a baseline recorded while infected; None if it could not be fitted.
    with_onnx : whether to include an ONNX export.

    Raises
    ------
    CheckpointError
        If schema or calibrator are of another input than the model's, or the export differs.
    NotFittedError
        If the model has learnt nothing yet.
    """
    _require_input_of(model, "feature schema", schema)
    _require_input_of(model, "calibrator", calibrator)
    state = model.state()
    onnx = export_onnx(model) if with_onnx else b""
    if onnx:
        note_run(onnx, golden_windows)
    return Checkpoint(
        architecture=model.architecture,
        architecture_version=ARCHITECTURE_VERSIONS[model.architecture],
        variant=model.variant,
        config=model.settings,
        schema=schema,
        calibrator=calibrator,
        cleanliness=cleanliness,
        seed=model.seed,
        threads=model.config.threads,
        data_digest=data_digest,
        split_digest=split_digest,
        golden=Golden(golden_windows, model.predict_proba(golden_windows)),
        weights=state.arrays,
        booster=state.booster,
        onnx=onnx,
        commit=commit,
        versions=library_versions(),
        computed_on=computed_on(),
        history=model.history_,
        metrics=metrics,
    )


def _require_input_of(model: BaseModel, what: str, part: FeatureSchema | Calibrator) -> None:
    wanted, found = (model.input_kind, model.variant), (part.kind, part.variant)
    if found != wanted:
        raise CheckpointError(
            f"a {model.architecture} model takes {' '.join(wanted)} windows, the {what} is of "
            f"{' '.join(map(str, found))}"
        )

"""Loading of the calibrator, the cleanliness check and the golden windows."""

from pathlib import Path
from typing import Final

import numpy as np

from cis490_pipeline.checkpoints.checkpoint import Golden
from cis490_pipeline.checkpoints.manifest import (
    CALIBRATION,
    CLEANLINESS,
    GOLDEN,
    MANIFEST,
    Manifest,
)
from cis490_pipeline.checkpoints.members import AGAIN, known_name, read_member
from cis490_pipeline.checkpoints.tensors import read_tensors
from cis490_pipeline.domain import PHASES
from cis490_pipeline.errors import CalibrationError, CheckpointError
from cis490_pipeline.features.calibration.calibrator import (
    CLIP,
    CalibrationMode,
    Calibrator,
    Scaling,
)
from cis490_pipeline.features.calibration.cleanliness import CleanlinessCheck
from cis490_pipeline.features.calibration.drifting_gauges import GaugeTreatment
from cis490_pipeline.features.channels import channel_indices
from cis490_pipeline.features.columns import calibrated_shape
from cis490_pipeline.features.schema import FeatureSchema

_MAX_GOLDEN: Final = 4096
_SUM_TOLERANCE: Final = 1e-6


def read_calibration(
    folder: Path, manifest: Manifest, schema: FeatureSchema
) -> tuple[Calibrator, CleanlinessCheck | None]:
    """Restore the calibrator and the cleanliness check.

    Raises `CheckpointError` if they are damaged, out of bounds, or do not match the manifest.
    """
    path, recorded = folder / CALIBRATION, manifest.calibrator
    arrays = read_tensors(path, read_member(folder, manifest, CALIBRATION))
    of_check = {
        name.removeprefix(CLEANLINESS): arrays.pop(name)
        for name in sorted(arrays)
        if name.startswith(CLEANLINESS)
    }
    mode = known_name(folder, "mode", CalibrationMode, recorded.mode)
    gauges = known_name(folder, "gauges", GaugeTreatment, recorded.gauges)
    scaling = known_name(folder, "scaling", Scaling, recorded.scaling)
    try:
        calibrator = Calibrator.from_arrays(
            mode,
            schema.variant,
            schema.input_kind,
            arrays,
            gauges,
            scaling,
            tuple(recorded.quarantine),
        )
        check = CleanlinessCheck.from_arrays(of_check) if of_check else None
    except (CalibrationError, ValueError) as fault:
        raise CheckpointError(f"{path}: {fault}; train the model again") from fault
    if calibrator.digest != recorded.digest:
        raise CheckpointError(
            f"{path}: digest {calibrator.digest:.12}, {MANIFEST} says "
            f"{recorded.digest:.12}; {AGAIN}"
        )
    check_digest = check.digest if check is not None else None
    if check_digest != recorded.cleanliness:
        raise CheckpointError(
            f"{path}: the cleanliness check has digest {check_digest!s:.12}, {MANIFEST} says "
            f"{recorded.cleanliness!s:.12}; {AGAIN}"
        )
    return calibrator, check


def window_shape(schema: FeatureSchema) -> tuple[int, ...]:
    """Shape of one calibrated window, such as (145,) of summaries or (29, 100) of tensors."""
    return calibrated_shape(schema.input_kind, channel_indices(schema.variant).size)


def read_golden(folder: Path, manifest: Manifest, schema: FeatureSchema) -> Golden:
    """Restore the golden windows: calibrated inputs with their probabilities.

    Raises `CheckpointError` if there are none, they do not fit the schema, or are not
    probabilities.
    """
    path = folder / GOLDEN
    arrays = read_tensors(path, read_member(folder, manifest, GOLDEN))
    if sorted(arrays) != ["inputs", "probabilities"]:
        raise CheckpointError(
            f"{path}: holds {sorted(arrays)[:10]}, wanted inputs and probabilities"
        )
    inputs, probabilities = arrays["inputs"], arrays["probabilities"]
    n, shape = len(inputs) if inputs.ndim else 0, window_shape(schema)
    right_types = inputs.dtype == np.float32 and probabilities.dtype == np.float64
    if not right_types or inputs.shape != (n, *shape) or probabilities.shape != (n, len(PHASES)):
        raise CheckpointError(
            f"{path}: inputs are {inputs.dtype} {inputs.shape} and probabilities "
            f"{probabilities.dtype} {probabilities.shape}; wanted float32 {('n', *shape)} and "
            f"float64 (n, {len(PHASES)})"
        )
    if not 1 <= n <= _MAX_GOLDEN:
        raise CheckpointError(f"{path}: has {n} golden windows to check the model by; {AGAIN}")
    known = inputs[~np.isnan(inputs)]
    if not known.size or np.abs(known).max() > CLIP:
        raise CheckpointError(f"{path}: inputs must be known in part and within ±{CLIP}; {AGAIN}")
    sums = np.abs(probabilities.sum(axis=1) - 1)
    # Written so that NaN fails.
    if not ((probabilities >= 0).all() and (sums <= _SUM_TOLERANCE).all()):
        raise CheckpointError(f"{path}: probabilities are none; {AGAIN}")
    return Golden(inputs, probabilities)

"""How much each phase's windows count in training."""

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import PHASES
from cis490_pipeline.errors import TrainingError


def class_counts(y: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Windows of each phase: (5,).

    Raises
    ------
    TrainingError
        If a phase has none: a model cannot learn what it never saw, and would be scored on it.
    """
    counts = np.bincount(y, minlength=len(PHASES))
    absent = [str(phase) for phase, n in zip(PHASES, counts, strict=True) if not n]
    if absent:
        raise TrainingError(
            f"no training window of {', '.join(absent)} among {len(y)}; every phase must be "
            "trained on. Choose another split, or check its excluded episodes."
        )
    return counts


def class_weights(y: npt.NDArray[np.int64], power: float) -> npt.NDArray[np.float64]:
    """Weight of each phase, inverse frequency to a power, 1 on average over the windows: (5,).

    Raises
    ------
    TrainingError
        If a phase has no window.
    """
    counts = class_counts(y)
    weights = (counts.sum() / counts) ** power
    normalized: npt.NDArray[np.float64] = weights * counts.sum() / (weights * counts).sum()
    return normalized

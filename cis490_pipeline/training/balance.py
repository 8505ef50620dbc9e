"""Class weights for training."""

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import PHASES
from cis490_pipeline.errors import TrainingError


def class_counts(y: npt.NDArray[np.int64], n_classes: int = len(PHASES)) -> npt.NDArray[np.int64]:
    """Count the windows of each class: (n_classes,).

    Raises
    ------
    TrainingError
        If a class has none: a model cannot learn it, but would be scored on it.
    """
    counts = np.bincount(y, minlength=n_classes)
    absent = [_class_name(k, n_classes) for k in np.flatnonzero(counts == 0)]
    if absent:
        raise TrainingError(
            f"no training window of {', '.join(absent)} among {len(y)}; every phase must be "
            "trained on. Choose another split, or check its excluded episodes."
        )
    return counts


def _class_name(index: int, n_classes: int) -> str:
    return str(PHASES[index]) if n_classes == len(PHASES) else f"class {index}"


def class_weights(
    y: npt.NDArray[np.int64], power: float, n_classes: int = len(PHASES)
) -> npt.NDArray[np.float64]:
    """Class weights: inverse frequency to a power, with mean 1 over the windows.

    Returns
    -------
    (n_classes,).

    Raises
    ------
    TrainingError
        If a class has no window.
    """
    counts = class_counts(y, n_classes)
    weights = (counts.sum() / counts) ** power
    normalized: npt.NDArray[np.float64] = weights * counts.sum() / (weights * counts).sum()
    return normalized

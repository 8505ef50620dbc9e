"""Class weights for training."""

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import PHASES
from cis490_pipeline.errors import TrainingError


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
        If a class has no window: a model cannot learn it, but would be scored on it.
    """
    counts = np.bincount(y, minlength=n_classes)
    names = PHASES if n_classes == len(PHASES) else [f"class {k}" for k in range(n_classes)]
    absent = [names[k] for k in np.flatnonzero(counts == 0)]
    if absent:
        raise TrainingError(
            f"no training window of {', '.join(absent)} among {len(y)}; every phase must be "
            "trained on. Choose another split, or check its excluded episodes."
        )
    weights = (counts.sum() / counts) ** power
    normalized: npt.NDArray[np.float64] = weights * counts.sum() / (weights * counts).sum()
    return normalized

"""Scores of probabilities: Brier score, log loss, expected calibration error."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain.arrays import Floats

N_BINS: Final = 15
FLOOR: Final = 1e-15
"""A probability of zero has no logarithm."""


def brier(y_true: npt.NDArray[np.int64], proba: Floats) -> float:
    """Mean squared distance of the probabilities to the truth, 0 to 2; NaN without any window."""
    if not y_true.size:
        return float("nan")
    truth = np.eye(proba.shape[1])[y_true]
    return float(np.square(proba - truth).sum(axis=1).mean())


def log_loss(y_true: npt.NDArray[np.int64], proba: Floats) -> float:
    """Mean negative log probability of the truth, nats; NaN without any window."""
    if not y_true.size:
        return float("nan")
    return float(-np.log(np.maximum(proba[np.arange(y_true.size), y_true], FLOOR)).mean())


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Windows of about the same confidence."""

    confidence: float
    """Mean highest probability."""
    accuracy: float
    """Share predicted right."""
    n: int
    """Windows."""


def reliability_bins(
    y_true: npt.NDArray[np.int64], proba: Floats, n_bins: int = N_BINS
) -> list[Bin]:
    """Set confidence against accuracy, in bins of equally many windows, least confident first.

    Fewer bins are used where there are fewer windows; none without any.
    """
    if not y_true.size:
        return []
    confidence = proba.max(axis=1)
    right = proba.argmax(axis=1) == y_true
    # Equal mass: with equal widths nearly all windows share one bin and the rest is noise.
    order = np.argsort(confidence, kind="stable")
    return [
        Bin(
            confidence=float(confidence[members].mean()),
            accuracy=float(right[members].mean()),
            n=len(members),
        )
        for members in np.array_split(order, min(n_bins, y_true.size))
    ]


def calibration_error(y_true: npt.NDArray[np.int64], proba: Floats, n_bins: int = N_BINS) -> float:
    """Measure the gap between confidence and accuracy, 0…1; NaN without any window.

    Expected calibration error over bins of equal mass: Nguyen and O'Connor, EMNLP 2015.
    """
    bins = reliability_bins(y_true, proba, n_bins)
    if not bins:
        return float("nan")
    return sum(abs(b.confidence - b.accuracy) * b.n for b in bins) / y_true.size

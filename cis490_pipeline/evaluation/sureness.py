"""Whether probabilities mean what they say: Brier score, calibration error, log loss."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_N_BINS = 15
_FLOOR = 1e-15


def brier(y_true: npt.NDArray[np.int64], proba: Floats) -> float:
    """Mean squared distance of the probabilities to the truth, 0 to 2; NaN without any window.

    Parameters
    ----------
    y_true : (n_windows,) class indices.
    proba : (n_windows, K).
    """
    if not y_true.size:
        return float("nan")
    truth = np.eye(proba.shape[1])[y_true]
    return float(np.square(proba - truth).sum(axis=1).mean())


def log_loss(y_true: npt.NDArray[np.int64], proba: Floats) -> float:
    """Mean negative log probability of the truth, nats; NaN without any window."""
    if not y_true.size:
        return float("nan")
    return float(-np.log(np.maximum(proba[np.arange(y_true.size), y_true], _FLOOR)).mean())


def calibration_error(y_true: npt.NDArray[np.int64], proba: Floats, n_bins: int = _N_BINS) -> float:
    """Measure the gap between confidence and accuracy, over bins of equally many windows.

    Parameters
    ----------
    y_true : (n_windows,) class indices.
    proba : (n_windows, K).
    n_bins : fewer are used where there are fewer windows.

    Returns
    -------
    0…1; NaN without any window.
    """
    if not y_true.size:
        return float("nan")
    confidence = proba.max(axis=1)
    right = (proba.argmax(axis=1) == y_true).astype(np.float64)
    # Equal mass: with equal widths nearly all windows share one bin and the rest is noise.
    order = np.argsort(confidence, kind="stable")
    bins = np.array_split(order, min(n_bins, y_true.size))
    gaps = [
        abs(confidence[members].mean() - right[members].mean()) * len(members) for members in bins
    ]
    return float(sum(gaps) / y_true.size)

"""Temperature scaling: one number, fitted on validation, that calibrates probabilities."""

from typing import Final

import numpy as np
import numpy.typing as npt
import scipy

from cis490_pipeline.domain.arrays import Floats
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.metrics.probability_scores import FLOOR, log_loss

COLDEST: Final = 0.05
HOTTEST: Final = 20.0
"""Bounds of the temperature; a few windows that are all right or all wrong have no optimum."""

_GAIN: Final = 1e-9


def tempered(proba: Floats, temperature: float) -> Floats:
    """Divide the log probabilities by a temperature and normalize again: (n_windows, K).

    A temperature above 1 takes sureness away, below 1 adds it; no ranking of the classes changes.

    Examples
    --------
    >>> tempered(np.array([[0.8, 0.2]]), 2.0).round(3).tolist()
    [[0.667, 0.333]]
    """
    scaled = np.log(np.maximum(proba, FLOOR)) / temperature
    return np.asarray(scipy.special.softmax(scaled, axis=1), dtype=np.float64)


def fit_temperature(y_true: npt.NDArray[np.int64], proba: Floats) -> float:
    """Find the temperature of the lowest log loss on validation windows; 1 where none is better.

    Raises
    ------
    EvaluationError
        If there is no window.

    Notes
    -----
    Guo, Pleiss, Sun and Weinberger, On calibration of modern neural networks, ICML 2017. The loss
    is convex in 1/T, so a search between ``COLDEST`` and ``HOTTEST`` finds the minimum.
    """
    if not y_true.size:
        raise EvaluationError("a temperature is fitted on validation windows, and there are none")
    found = scipy.optimize.minimize_scalar(
        lambda log_t: log_loss(y_true, tempered(proba, float(np.exp(log_t)))),
        bounds=(np.log(COLDEST), np.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    unchanged = log_loss(y_true, tempered(proba, 1.0))
    return float(np.exp(found.x)) if found.fun < unchanged - _GAIN else 1.0

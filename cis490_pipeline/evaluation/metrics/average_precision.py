"""Average precision: how well a probability ranks one phase's windows above all others."""

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain.arrays import Floats


def average_precision(is_phase: npt.NDArray[np.bool_], score: Floats) -> float:
    """Area under the precision-recall curve, by steps: Σ (recallₙ − recallₙ₋₁) × precisionₙ, 0…1.

    Parameters
    ----------
    is_phase : (n_windows,) whether the window truly is of the phase.
    score : (n_windows,) its probability of the phase; equal scores are one step.

    Returns
    -------
    A random ranking has the phase's prevalence. NaN where no window is of the phase.

    Notes
    -----
    Equals scikit-learn's ``average_precision_score``. It is not interpolated: Davis and Goadrich,
    The relationship between precision-recall and ROC curves, ICML 2006.

    Examples
    --------
    >>> average_precision(np.array([True, False, True]), np.array([0.9, 0.8, 0.7]))
    0.8333333333333333
    """
    n_true = int(is_phase.sum())
    if not n_true:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    last_of_step = np.append(np.flatnonzero(np.diff(score[order])), score.size - 1)
    hits = np.cumsum(is_phase[order])[last_of_step]
    precision = hits / (last_of_step + 1)
    gained = np.diff(hits, prepend=0)
    return float((gained * precision).sum() / n_true)

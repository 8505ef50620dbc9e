"""How a score holds up over time after training."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain.arrays import Floats, Ints
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.confusion import seen_classes
from cis490_pipeline.evaluation.schema.parts import Score
from cis490_pipeline.evaluation.schema.study import AreaUnderTime
from cis490_pipeline.evaluation.uncertainty.intervals import (
    episode_interval,
    finite_or_none,
    interval_of,
    resampled_macro_f1,
)

N_RESAMPLES: Final = 2000


def area_under_time(scores: npt.ArrayLike) -> Floats:
    """Area under (..., N) scores of equal slots of time, by trapezoids, divided by the time: 0…1.

    Raises
    ------
    EvaluationError
        For a single slot.

    Notes
    -----
    AUT(f, N) = 1 / (N − 1) · Σ (f(k + 1) + f(k)) / 2; Pendlebury et al., 2019, "TESSERACT:
    Eliminating Experimental Bias in Malware Classification across Space and Time".

    Examples
    --------
    >>> float(area_under_time([1.0, 0.5, 0.0]))
    0.5
    """
    f = np.asarray(scores, dtype=np.float64)
    if f.shape[-1] < 2:
        raise EvaluationError(f"an area over time needs two slots, got {f.shape[-1]}")
    area: Floats = ((f[..., 1:] + f[..., :-1]) / 2).mean(axis=-1)
    return area


def decay(
    slots: Sequence[Ints], *, seed: int, n_resamples: int = N_RESAMPLES, level: float = 0.95
) -> tuple[list[Score], AreaUnderTime]:
    """Macro F1 of each slot and the area under it, with intervals by episode.

    Parameters
    ----------
    slots : of each slot in order (E, K, K) confusion matrices by episode, E ≥ 1.
    n_resamples : of the area; episodes are drawn within their slot.
    """
    rows = [episode_interval(matrices, seed=seed, level=level).to_dict() for matrices in slots]
    area: AreaUnderTime = {
        "aut": None,
        "ci_low": None,
        "ci_high": None,
        "ci_level": level,
        "ci_method": None,
        "n_episodes": sum(row["n_episodes"] for row in rows),
        "n_windows": sum(row["n_windows"] for row in rows),
        "why": None,
    }
    scores = [row["macro_f1"] for row in rows if row["macro_f1"] is not None]
    if len(rows) < 2 or len(scores) < len(rows):
        why = "an area over time needs two slots, each with a scored window"
        return rows, {**area, "why": why}
    area["aut"] = estimate = float(area_under_time(scores))
    fewest = min(row["n_episodes"] for row in rows)
    if fewest < 2:
        return rows, {**area, "why": "an interval needs two episodes in each slot"}
    rng = np.random.default_rng(seed)
    drawn = [
        resampled_macro_f1(matrices, seen_classes(matrices.sum(axis=0)), rng, n_resamples)
        for matrices in slots
    ]
    resamples = area_under_time(np.stack(drawn, axis=-1))
    method, low, high = interval_of(resamples, estimate, area["n_episodes"], level)
    area["ci_low"] = finite_or_none(max(0.0, low))
    area["ci_high"] = finite_or_none(min(1.0, high))
    area["ci_method"] = method
    area["why"] = None if math.isfinite(low) else "the resamples have no spread"
    return rows, area

"""Selective prediction: risk–coverage curve and its area (AURC)."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain.arrays import Floats

MAX_POINTS: Final = 50


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """The risk-coverage curve of one model.

    Attributes
    ----------
    risk : (n_windows,) share of mistakes among the k most confident windows, k = 1 to n_windows.
    """

    risk: Floats

    @property
    def area(self) -> float:
        """AURC: mean risk over all coverages, 0 (best) to 1; NaN without any window."""
        return float(self.risk.mean()) if self.risk.size else float("nan")

    def points(self, n_points: int = MAX_POINTS) -> list[tuple[float, float]]:
        """Coverage and risk at equal steps of coverage, up to all windows."""
        n = self.risk.size
        kept = np.unique(np.ceil(np.linspace(0, n, min(n, n_points) + 1)[1:]).astype(np.int64))
        return [(float(k / n), float(self.risk[k - 1])) for k in kept]


def risk_coverage(y_true: npt.NDArray[np.int64], proba: Floats) -> RiskCoverage:
    """Cumulative error rate over windows ranked by confidence, from the most confident on.

    Windows of equal confidence share their mistakes evenly, so that their order in the file changes
    nothing. Geifman and El-Yaniv, Selective classification for deep neural networks, NeurIPS 2017.
    """
    confidence = proba.max(axis=1) if proba.size else np.zeros(0)
    wrong = (proba.argmax(axis=1) != y_true).astype(np.float64) if proba.size else confidence
    _, level, n_of_level = np.unique(-confidence, return_inverse=True, return_counts=True)
    share = np.bincount(level, weights=wrong, minlength=n_of_level.size) / n_of_level
    ranked = share[np.sort(level)]
    return RiskCoverage(np.cumsum(ranked) / np.arange(1, ranked.size + 1))

"""Kaplan–Meier curve: times to an event that some cases are not watched long enough to have."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy

from cis490_pipeline.domain.arrays import Floats
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.schema.alarm import CurvePoint

_MOST_POINTS: Final = 50


@dataclass(frozen=True, eq=False)
class TimeToEvent:
    """Estimated share of cases that had the event by each time.

    Attributes
    ----------
    t : (n,) distinct times of an event, ascending.
    share : (n,) estimated share by then.
    low, high : (n,) 95 % interval of it, by Greenwood's variance of log(−log); NaN where it is not
        defined, which is where the share is 1.
    """

    t: Floats
    share: Floats
    low: Floats
    high: Floats

    def quantile(self, q: float) -> float | None:
        """Time by which a share ``q`` had the event; None if the curve does not reach it."""
        return _first(self.t, self.share >= q - 1e-12)

    def quantile_bounds(self, q: float) -> tuple[float | None, float | None]:
        """95 % interval of a quantile (Brookmeyer and Crowley 1982): times its share may be ``q``.

        None for an end that the curve's own interval does not reach.
        """
        return _first(self.t, self.high >= q), _first(self.t, self.low >= q)

    def points(self) -> list[CurvePoint]:
        """At most 50 points of the curve, the first and last among them."""
        kept = np.unique(np.linspace(0, self.t.size - 1, min(_MOST_POINTS, self.t.size)).round())
        return [
            {
                "t_s": float(self.t[k]),
                "share": float(self.share[k]),
                "low": float(self.low[k]) if math.isfinite(self.low[k]) else None,
                "high": float(self.high[k]) if math.isfinite(self.high[k]) else None,
            }
            for k in kept.astype(np.int64)
        ]


def time_to_event(times: Sequence[float], censored: Sequence[float]) -> TimeToEvent:
    """Kaplan and Meier's estimate (1958).

    Parameters
    ----------
    times : when it happened, to those to whom it did.
    censored : how long the others were watched, assumed independent of how hard a case is.

    Raises
    ------
    EvaluationError
        If a time is negative or not finite.
    """
    everything = np.array([*times, *censored], dtype=np.float64)
    if not (np.isfinite(everything) & (everything >= 0)).all():
        raise EvaluationError(f"times must be finite and 0 or more, got {everything.tolist()}")
    if not len(times):
        nothing = np.zeros(0)
        return TimeToEvent(nothing, nothing, nothing, nothing)
    survival = scipy.stats.ecdf(scipy.stats.CensoredData(uncensored=times, right=censored)).sf
    # Where the curve reaches 0 its variance is 0 / 0, and there is no interval.
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The confidence interval is undefined")
        interval = survival.confidence_interval(confidence_level=0.95, method="log-log")
    at = np.isin(survival.quantiles, np.asarray(times, dtype=np.float64))
    return TimeToEvent(
        survival.quantiles[at],
        1 - survival.probabilities[at],
        1 - interval.high.probabilities[at],
        1 - interval.low.probabilities[at],
    )


def _first(t: Floats, reached: npt.NDArray[np.bool_]) -> float | None:
    found = np.flatnonzero(reached)
    return float(t[found[0]]) if found.size else None

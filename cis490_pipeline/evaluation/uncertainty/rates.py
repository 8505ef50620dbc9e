"""Shares and rates with exact or Wilson intervals, which hold for few events too."""

import math
from dataclasses import dataclass
from typing import Final

import scipy

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.schema.alarm import FalseAlarms, HourlyRate
from cis490_pipeline.evaluation.schema.parts import Found

LEVEL: Final = 0.95

FEWEST_EVENTS: Final = 3
"""No rate is estimated from fewer events: with a mean of three, none at all has probability 5 %.

The same as asking for an exposure of at least 3 / rate (the rule of three)."""


@dataclass(frozen=True)
class Bounds:
    """Two ends of an interval."""

    low: float
    high: float


def wilson(n_hits: int, n: int, level: float = LEVEL) -> Bounds:
    """Interval of a share (Wilson 1927): inside 0 to 1, and of use at 0 and at n.

    EvaluationError unless ``0 <= n_hits <= n`` and ``n`` is positive.
    """
    if not (n > 0 and 0 <= n_hits <= n):
        raise EvaluationError(f"a share needs 0 <= hits <= n and n > 0, got {n_hits} of {n}")
    found = scipy.stats.binomtest(n_hits, n).proportion_ci(confidence_level=level, method="wilson")
    return Bounds(float(found.low), float(found.high))


def poisson_bounds(n_events: int, exposure: float, level: float = LEVEL) -> Bounds:
    """Exact interval of a rate of events (Garwood 1936), in events per unit of ``exposure``.

    EvaluationError without exposure, or for a negative count.
    """
    if not (n_events >= 0 and 0 < exposure < math.inf):
        raise EvaluationError(f"a rate needs an exposure, got {n_events} events in {exposure}")
    tail = (1 - level) / 2
    low = scipy.stats.chi2.ppf(tail, 2 * n_events) / 2 if n_events else 0.0
    high = scipy.stats.chi2.ppf(1 - tail, 2 * n_events + 2) / 2
    return Bounds(float(low / exposure), float(high / exposure))


def poisson_upper(n_events: int, exposure: float, level: float = LEVEL) -> float:
    """One-sided upper bound of a rate of events: the rate is below it with this confidence.

    EvaluationError without exposure, or for a negative count.
    """
    return poisson_bounds(n_events, exposure, 2 * level - 1).high


def share_dict(n_hits: int, n: int) -> Found:
    """Share of ``n`` with its Wilson interval; null, with a reason, of nothing."""
    if not n:
        return {"share": None, "low": None, "high": None, "why": "there is none"}
    bounds = wilson(n_hits, n)
    return {"share": n_hits / n, "low": bounds.low, "high": bounds.high, "why": None}


def rate_dict(n_events: int, days: float) -> FalseAlarms:
    """Events per device-day with exact bounds; the rate is null where so little time shows none."""
    if not days > 0:
        return {
            "n": n_events,
            "device_days": days,
            "per_day": None,
            "low": None,
            "high": None,
            "why": "n/a: no clean device-time was watched",
        }
    bounds = poisson_bounds(n_events, days)
    few = n_events < FEWEST_EVENTS
    why = f"n/a: {n_events} in {days:.4f} device-days; a rate needs {FEWEST_EVENTS} or more"
    return {
        "n": n_events,
        "device_days": days,
        "per_day": None if few else n_events / days,
        "low": bounds.low,
        "high": bounds.high,
        "why": why if few else None,
    }


def hourly_dict(n_events: int, hours: float) -> HourlyRate:
    """Events per device-hour with exact bounds; a point too, which the bounds keep from misleading.

    ``upper`` is the one-sided 95 % bound, ``low`` and ``high`` are the two-sided interval.
    """
    if not hours > 0:
        return {
            "n": n_events,
            "device_hours": hours,
            "per_hour": None,
            "low": None,
            "high": None,
            "upper": None,
            "why": "n/a: no clean device-time was watched",
        }
    bounds = poisson_bounds(n_events, hours)
    return {
        "n": n_events,
        "device_hours": hours,
        "per_hour": n_events / hours,
        "low": bounds.low,
        "high": bounds.high,
        "upper": poisson_upper(n_events, hours),
        "why": None,
    }


def predictive_value(
    infections_per_day: float, share_detected: float, false_per_day: float
) -> float | None:
    """Share of alarms that are of an infection (Axelsson 2000), each infection raising one at most.

    ``infections_per_day`` is the prior of one device, ``false_per_day`` of one clean device-day;
    None if there would be no alarm at all.
    """
    true_per_day = infections_per_day * share_detected
    total = true_per_day + false_per_day
    return true_per_day / total if total > 0 else None

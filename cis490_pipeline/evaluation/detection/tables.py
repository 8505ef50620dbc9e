"""Detection tables: delays, rates and predictive values of the first setting of the outcomes."""

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain.arrays import Bools
from cis490_pipeline.evaluation.detection.look_alikes import Names, look_alike_of
from cis490_pipeline.evaluation.detection.outcomes import Outcomes
from cis490_pipeline.evaluation.detection.windows import AlarmWindows
from cis490_pipeline.evaluation.schema.alarm import (
    AlarmedEpisodes,
    ElapsedAlarms,
    FalseAlarms,
    HourlyRates,
    NamedRate,
    PredictiveValue,
    ProfileTimes,
    Times,
)
from cis490_pipeline.evaluation.uncertainty.rates import (
    LEVEL,
    hourly_dict,
    poisson_bounds,
    predictive_value,
    rate_dict,
    share_dict,
    wilson,
)
from cis490_pipeline.evaluation.uncertainty.survival import time_to_event
from cis490_pipeline.features.windows import STRIDE_S

PPV_PRIORS: Final = (0.1, 0.01, 0.001)
"""Infections per device-day: one in 10 days, in 100 days, and in three years."""

_WIDTHS_S: Final = (30.0, 300.0, 3_600.0, 86_400.0)
_MOST_BINS: Final = 12
_HOUR_S: Final = 3_600.0


def time_to_detection(found: Outcomes, chosen: Bools | None = None) -> Times:
    """Delay of detection (Kaplan–Meier quantiles), and the share of infections found.

    An infection that was not found is censored at the end of what was watched of it, as is one
    whose alarm stood already. The share is of all infections, with Wilson's interval. ``chosen`` is
    an (I,) mask of the infections to look at; all by default.
    """
    infected = found.infected if chosen is None else found.infected & chosen
    detected, already = found.detected[0] & infected, found.already[0] & infected
    curve = time_to_event(
        found.delay_s[0, detected].tolist(), found.watched_s[infected & ~detected].tolist()
    )
    n, n_detected, n_already = int(infected.sum()), int(detected.sum()), int(already.sum())
    share = share_dict(n_detected, n)
    quantiles = {name: curve.quantile(q) for name, q in (("median", 0.5), ("p90", 0.9))}
    unreached = [name for name, value in quantiles.items() if value is None]
    why = "n/a: no infection" if not n else f"{' and '.join(unreached)} n/a: too few were found"
    median_low, median_high = curve.quantile_bounds(0.5)
    p90_low, p90_high = curve.quantile_bounds(0.9)
    return {
        "n_infected": n,
        "n_detected": n_detected,
        "n_missed": n - n_detected - n_already,
        "n_already_alarming": n_already,
        "n_censored": n - n_detected,
        "share_detected": share["share"],
        "share_low": share["low"],
        "share_high": share["high"],
        "curve": curve.points(),
        "median_s": quantiles["median"],
        "median_low_s": median_low,
        "median_high_s": median_high,
        "p90_s": quantiles["p90"],
        "p90_low_s": p90_low,
        "p90_high_s": p90_high,
        "why": why if unreached else None,
    }


def by_profile(found: Outcomes, windows: AlarmWindows) -> list[ProfileTimes]:
    """``time_to_detection`` of each profile that infected."""
    of_episode = np.array([profile or "" for profile in windows.profiles], dtype=np.str_)
    profiles = of_episode[windows.infections.episode]
    return [
        {"profile": str(profile), **time_to_detection(found, profiles == profile)}
        for profile in np.unique(profiles[found.infected])
    ]


def false_alarms(found: Outcomes) -> FalseAlarms:
    """Alarms that rose in clean time, per clean device-day, with exact bounds."""
    return rate_dict(int(found.n_false[0]), found.clean_days)


def hourly_rates(
    found: Outcomes, windows: AlarmWindows, look_alikes: pl.DataFrame | None
) -> HourlyRates:
    """Alarms that rose in clean time per device-hour: of all hosts, by host, and by look-alike."""
    hosts = np.array(windows.hosts, dtype=np.str_)[windows.episode]
    hours = float(found.clean.sum() * STRIDE_S / _HOUR_S)
    return {
        "all": hourly_dict(int(found.n_false[0]), hours),
        "by_host": _rates_by(hosts, found),
        "by_look_alike": None
        if look_alikes is None
        else _rates_by(look_alike_of(windows, look_alikes), found),
        "why": "n/a: the recordings do not say what ran" if look_alikes is None else None,
    }


def _rates_by(names: Names, found: Outcomes) -> list[NamedRate]:
    rows: list[NamedRate] = []
    for name in np.unique(names[found.clean]):
        of = found.clean & (names == name)
        n, hours = int(found.false_alarm[0, of].sum()), float(of.sum() * STRIDE_S / _HOUR_S)
        rows.append({"name": str(name), **hourly_dict(n, hours)})
    return rows


def predictive_values(found: Outcomes) -> list[PredictiveValue]:
    """Share of alarms that would be true where infections are as rare as stated.

    The ends combine intervals of the share found and of the rate of false alarms, at 97.5 % each:
    both hold at once in 95 % of repetitions or more (Bonferroni).
    """
    n, days, n_false = int(found.infected.sum()), found.clean_days, int(found.n_false[0])
    if not n or not days > 0:
        why = f"n/a: {n} infections and {days:.4f} clean device-days"
        return [
            {"prior": p, "per": "device-day", "ppv": None, "low": None, "high": None, "why": why}
            for p in PPV_PRIORS
        ]
    n_detected = int(found.detected[0].sum())
    level = 1 - (1 - LEVEL) / 2
    share, rate = wilson(n_detected, n, level), poisson_bounds(n_false, days, level)
    measured = rate_dict(n_false, days)
    return [
        {
            "prior": prior,
            "per": "device-day",
            "ppv": None
            if measured["per_day"] is None
            else predictive_value(prior, n_detected / n, measured["per_day"]),
            "low": predictive_value(prior, share.low, rate.high),
            "high": predictive_value(prior, share.high, rate.low),
            "why": measured["why"],
        }
        for prior in PPV_PRIORS
    ]


def episode_shares(found: Outcomes, windows: AlarmWindows) -> dict[str, AlarmedEpisodes]:
    """Episodes with an alarm at any time, by what they were; Wilson's interval.

    ``called_off`` are those that left ``clean`` and never came to an infection.
    """
    infected = np.zeros(len(windows), dtype=np.bool_)
    infected[windows.infections.episode[found.infected]] = True
    kinds = {
        "infected": infected,
        "clean": windows.clean_only,
        "called_off": ~windows.clean_only & ~np.isfinite(windows.onset_s),
    }
    shares: dict[str, AlarmedEpisodes] = {}
    for name, kind in kinds.items():
        n, alarmed = int(kind.sum()), int((found.alarmed[0] & kind).sum())
        shares[name] = {"n": n, "alarmed": alarmed, **share_dict(alarmed, n)}
    return shares


def by_elapsed(found: Outcomes, windows: AlarmWindows) -> list[ElapsedAlarms]:
    """Count false alarms of clean-only episodes by the time since their first label.

    Drift since the baseline is a clock: an alarm that rises ever more often shows it.
    """
    rows = found.clean & windows.clean_only[windows.episode]
    if not rows.any():
        return []
    latest = float(windows.end_s[rows].max())
    width = next((w for w in _WIDTHS_S if latest <= w * _MOST_BINS), latest / _MOST_BINS)
    bin_of = _bins(windows.end_s, width)
    n_bins = int(bin_of[rows].max()) + 1
    alarms = np.bincount(bin_of[rows & found.false_alarm[0]], minlength=n_bins)
    hours = np.bincount(bin_of[rows], minlength=n_bins) * STRIDE_S / _HOUR_S
    return [
        {
            "from_s": k * width,
            "to_s": (k + 1) * width,
            "n_alarms": int(alarms[k]),
            "device_hours": float(hours[k]),
        }
        for k in range(n_bins)
    ]


def _bins(end_s: npt.NDArray[np.float64], width: float) -> npt.NDArray[np.int64]:
    # An end of exactly one width belongs to the first bin; a billionth of a second is rounding.
    bins: npt.NDArray[np.int64] = (np.ceil(end_s / width - 1e-9) - 1).astype(np.int64)
    return np.maximum(bins, 0)

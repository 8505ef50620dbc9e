"""Detection report: delay of an alarm, its false-alarm rate, and its predictive value.

Thresholds come from validation; the test side is only judged.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from cis490_pipeline.alarm.alarm import AlarmSettings
from cis490_pipeline.domain import PHASES, Side
from cis490_pipeline.domain.arrays import Floats
from cis490_pipeline.evaluation.confusion import episode_confusions
from cis490_pipeline.evaluation.detection.fit import (
    DAILY,
    PRIOR_PER_DAY,
    Budget,
    LabelSequences,
    Trial,
    daily,
    fit_alarm,
    replay,
)
from cis490_pipeline.evaluation.detection.outcomes import Outcomes, outcomes
from cis490_pipeline.evaluation.detection.tables import (
    by_elapsed,
    by_profile,
    episode_shares,
    false_alarms,
    hourly_rates,
    predictive_values,
    time_to_detection,
)
from cis490_pipeline.evaluation.detection.windows import AlarmWindows, alarm_windows
from cis490_pipeline.evaluation.schema.alarm import (
    Alarm,
    AlarmAblation,
    AtRate,
    Detection,
    Filtered,
)
from cis490_pipeline.evaluation.uncertainty.intervals import N_RESAMPLES, episode_interval
from cis490_pipeline.evaluation.uncertainty.rates import FEWEST_EVENTS

RATES_PER_DAY: Final = (0.1, 1.0, 10.0)

_CONSTANT: Final = "the same filter on constant emissions: what its transitions alone give"
_ABLATIONS: Final = (
    ("learnt_prior", None, False, "leaving clean as often as in training"),
    ("constant_emissions", PRIOR_PER_DAY, True, _CONSTANT),
    ("constant_emissions_learnt_prior", None, True, f"{_CONSTANT}, with the learnt prior: a clock"),
)


@dataclass(frozen=True, eq=False)
class AlarmInputs:
    """Inputs of a detection report besides predictions.

    Attributes
    ----------
    sequences : phases in training.
    truth : ``TRUTH_COLUMNS`` of every episode.
    look_alikes : of ``LOOK_ALIKE_SCHEMA``; None if the recordings do not say what ran.
    """

    sequences: LabelSequences
    truth: pl.DataFrame
    look_alikes: pl.DataFrame | None = None


def detection_report(
    frame: pl.DataFrame,
    inputs: AlarmInputs,
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
    budget: Budget = DAILY,
) -> Detection:
    """Fit an alarm on validation and judge it on test; what is undefined is null and says why.

    Parameters
    ----------
    frame : rows of ``PREDICTION_SCHEMA``, val and test: the windows that may be scored. The filter
        starts at an episode's first one, with the device known to be clean.
    budget : false alarms that thresholds may cost on validation.

    Raises
    ------
    EvaluationError
        If the labels of an episode are missing.
    """
    val, test = (
        alarm_windows(frame.filter(pl.col("side") == side), inputs.truth)
        for side in (Side.VAL, Side.TEST)
    )
    trial, chosen = fit_alarm(val, inputs.sequences, PRIOR_PER_DAY, budget)
    settings = trial.settings(chosen)
    states, on_test = _judge(test, settings)
    return {
        "alarm": _alarm(trial, chosen, budget),
        "time_to_detection": time_to_detection(on_test),
        "by_profile": by_profile(on_test, test),
        "false_alarms": false_alarms(on_test),
        "per_hour": hourly_rates(on_test, test, inputs.look_alikes),
        "armed_alarms": int(on_test.n_armed[0]),
        "at_rates": [_at_rate(trial, test, rate) for rate in RATES_PER_DAY],
        "ppv": predictive_values(on_test),
        "episodes": episode_shares(on_test, test),
        "by_elapsed": by_elapsed(on_test, test),
        "filtered": _filtered(states, test, seed, n_resamples),
        "ablations": [_ablation(val, test, inputs.sequences, budget, *row) for row in _ABLATIONS],
    }


def _judge(windows: AlarmWindows, settings: AlarmSettings) -> tuple[Floats, Outcomes]:
    """Replay an alarm on a side: its filtered phases, and what came of it."""
    states, stands = replay(windows, settings.filter, settings)
    return states, outcomes(windows, stands)


def _alarm(trial: Trial, chosen: int, budget: Budget) -> Alarm:
    settings, on_val = trial.settings(chosen), trial.on_val
    return {
        "threshold": settings.threshold,
        "release": settings.release,
        "hold_windows": settings.hold_windows,
        "prior_per_day": settings.prior_per_day,
        "fitted_on": "val",
        "rule": f"most infections found with at most {budget.text}; on a tie the one nearest to "
        "even odds",
        "val": {
            "n_infected": int(on_val.infected.sum()),
            "n_detected": int(on_val.detected[chosen].sum()),
            "n_false_alarms": int(on_val.n_false[chosen]),
            "device_days": on_val.clean_days,
        },
        "settings": settings.to_dict(),
    }


def _at_rate(trial: Trial, test: AlarmWindows, rate: float) -> AtRate:
    row: AtRate = {
        "per_day": rate,
        "threshold": None,
        "share_detected": None,
        "share_low": None,
        "share_high": None,
        "median_s": None,
        "why": "n/a: on val every threshold raises more false alarms",
    }
    needed, days = FEWEST_EVENTS / rate, trial.on_val.clean_days
    if days < needed:
        why = f"{days:.4f} clean device-days of val, {needed:g} are needed to set this rate"
        return {**row, "why": f"n/a: {why}"}
    chosen = trial.best(daily(rate))
    if trial.on_val.n_false[chosen] > rate * days:
        return row
    settings = trial.settings(chosen)
    times = time_to_detection(_judge(test, settings)[1])
    return {
        "per_day": rate,
        "threshold": settings.threshold,
        "share_detected": times["share_detected"],
        "share_low": times["share_low"],
        "share_high": times["share_high"],
        "median_s": times["median_s"],
        "why": times["why"],
    }


def _filtered(states: Floats, windows: AlarmWindows, seed: int, n_resamples: int) -> Filtered:
    there = windows.present
    matrices = episode_confusions(
        windows.y_true[there],
        states[there].argmax(axis=1),
        np.array(windows.episode_ids)[windows.episode[there]],
        len(PHASES),
    )
    interval = episode_interval(matrices.counts, seed=seed, n_resamples=n_resamples)
    return {**interval.to_dict(), "what": "the filter's likeliest phase of each window"}


def _ablation(
    val: AlarmWindows,
    test: AlarmWindows,
    sequences: LabelSequences,
    budget: Budget,
    name: str,
    prior_per_day: float | None,
    constant: bool,
    what: str,
) -> AlarmAblation:
    if constant:
        val, test = (side.with_constant_emissions(sequences.class_prior) for side in (val, test))
    trial, chosen = fit_alarm(val, sequences, prior_per_day, budget)
    settings = trial.settings(chosen)
    on_test = _judge(test, settings)[1]
    times = time_to_detection(on_test)
    del times["curve"]
    return {
        "name": name,
        "what": what,
        "threshold": settings.threshold,
        "release": settings.release,
        "hold_windows": settings.hold_windows,
        "fitted_on": "val",
        "time_to_detection": times,
        "false_alarms": false_alarms(on_test),
    }

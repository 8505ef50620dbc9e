"""A model read with each host's own record, beside the same model read with episode baselines."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl

from cis490_pipeline.domain import Side
from cis490_pipeline.evaluation.detection.fit import HOURLY, PRIOR_PER_DAY, fit_alarm
from cis490_pipeline.evaluation.detection.report import AlarmInputs, detection_report
from cis490_pipeline.evaluation.detection.windows import alarm_windows
from cis490_pipeline.evaluation.predictions import matrices_of, require_scored
from cis490_pipeline.evaluation.schema.alarm import Detection
from cis490_pipeline.evaluation.schema.host_baseline import (
    BaselineLength,
    CalibrationScores,
    FlaggedClean,
)
from cis490_pipeline.evaluation.schema.parts import Score
from cis490_pipeline.evaluation.uncertainty.intervals import N_RESAMPLES, episode_interval
from cis490_pipeline.evaluation.uncertainty.paired import require_identical_windows
from cis490_pipeline.evaluation.uncertainty.rates import hourly_dict, share_dict
from cis490_pipeline.features.calibration.calibrator import CalibrationMode
from cis490_pipeline.features.calibration.false_flags import FlaggedSegments

LENGTHS_S: Final = (60.0, 150.0, 300.0)
"""Lengths of records that are compared, s."""

_HOURS_A_DAY: Final = 24.0


def compare_calibrations(
    frames: Mapping[CalibrationMode, pl.DataFrame],
    inputs: AlarmInputs,
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
) -> tuple[list[CalibrationScores], Detection]:
    """Score a model under several calibrations, with an alarm of its own for each.

    Thresholds are the most sensitive within ``HOURLY`` on validation, under the same calibration.

    Parameters
    ----------
    frames : predictions of val and test by mode, on identical windows.

    Returns
    -------
    Scores of each mode; and the whole account of the alarm with ``host_baseline``, whose settings
    say so.

    Raises
    ------
    EvaluationError
        If the windows differ, or touch a baseline.
    """
    for mode, frame in frames.items():
        require_scored(mode, frame)
    require_identical_windows({str(mode): frame for mode, frame in frames.items()})
    rows: list[CalibrationScores] = []
    found: dict[CalibrationMode, Detection] = {}
    for mode, frame in frames.items():
        found[mode] = detection_report(
            frame, inputs, seed=seed, n_resamples=n_resamples, budget=HOURLY
        )
        times = found[mode]["time_to_detection"].copy()
        del times["curve"]
        rows.append(
            {
                "mode": str(mode),
                "val": _score(frame, Side.VAL, seed, n_resamples),
                "test": _score(frame, Side.TEST, seed, n_resamples),
                "time_to_detection": times,
                "per_hour": found[mode]["per_hour"]["all"],
            }
        )
    detection = found[CalibrationMode.HOST_BASELINE]
    fitted_on = detection["alarm"]["settings"]["fitted_on"]
    fitted_on["calibration"] = str(CalibrationMode.HOST_BASELINE)
    return rows, detection


def score_length(
    val: pl.DataFrame,
    inputs: AlarmInputs,
    *,
    seconds: float | None,
    durations_s: Sequence[float],
    seed: int,
    n_resamples: int = N_RESAMPLES,
) -> BaselineLength:
    """Score validation with records of one length; ``seconds`` is None for whole runs.

    The alarm's thresholds are fitted on these very windows, as for each of the lengths.
    """
    windows = alarm_windows(val, inputs.truth)
    trial, chosen = fit_alarm(windows, inputs.sequences, PRIOR_PER_DAY, HOURLY)
    on_val = trial.on_val
    n, n_detected = int(on_val.infected.sum()), int(on_val.detected[chosen].sum())
    share = share_dict(n_detected, n)
    n_false, hours = int(on_val.n_false[chosen]), on_val.clean_days * _HOURS_A_DAY
    return {
        "seconds": seconds,
        "shortest_s": float(np.min(durations_s)),
        "val": _score(val, Side.VAL, seed, n_resamples),
        "n_infected": n,
        "n_detected": n_detected,
        "share_detected": share["share"],
        "share_low": share.get("low"),
        "share_high": share.get("high"),
        "per_hour": hourly_dict(n_false, hours),
        "why": None,
    }


def flagged_rows(side: Side, hosts: Sequence[FlaggedSegments]) -> list[FlaggedClean]:
    """Tabulate how much clean time of a side the cleanliness check flags: all, then by host.

    Intervals are of independent segments; those of one episode are alike, so the truth is wider.
    """
    n, n_flagged = sum(of.n for of in hosts), sum(of.n_flagged for of in hosts)
    rows = [(None, n, n_flagged), *((of.host_id, of.n, of.n_flagged) for of in hosts)]
    return [
        {"side": str(side), "host_id": host, "n": n, "n_flagged": k, **share_dict(k, n)}
        for host, n, k in rows
    ]


def missing_length(seconds: float, why: str) -> BaselineLength:
    """Return the row of a length that not every host's run has."""
    return {
        "seconds": seconds,
        "shortest_s": None,
        "val": None,
        "n_infected": 0,
        "n_detected": 0,
        "share_detected": None,
        "share_low": None,
        "share_high": None,
        "per_hour": None,
        "why": f"n/a: {why}",
    }


def _score(frame: pl.DataFrame, side: Side, seed: int, n_resamples: int) -> Score:
    counts = matrices_of(frame.filter(pl.col("side") == side)).counts
    return episode_interval(counts, seed=seed, n_resamples=n_resamples).to_dict()

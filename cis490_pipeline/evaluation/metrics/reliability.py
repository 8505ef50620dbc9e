"""Calibration of probabilities on test, before and after a temperature fitted on validation."""

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain.arrays import Floats
from cis490_pipeline.evaluation.metrics.probability_scores import (
    N_BINS,
    brier,
    calibration_error,
    log_loss,
    reliability_bins,
)
from cis490_pipeline.evaluation.metrics.risk_coverage import risk_coverage
from cis490_pipeline.evaluation.metrics.temperature import fit_temperature, tempered
from cis490_pipeline.evaluation.predictions import probabilities, true_classes
from cis490_pipeline.evaluation.schema.report import Bin, Reliability, Sureness
from cis490_pipeline.evaluation.uncertainty.intervals import finite_or_none


def reliability(val: pl.DataFrame, test: pl.DataFrame) -> Reliability:
    """Describe the probabilities of the test side, with a temperature fitted on validation.

    Returns
    -------
    ``before`` and ``after`` are of the test side; without any validation window there
    is no temperature, ``after`` is null and ``why`` says so. ``aurc`` and ``risk_coverage`` are of
    the probabilities as the model gave them.
    """
    y_true, proba = true_classes(test), probabilities(test)
    temperature, why = None, None
    if val.height:
        temperature = fit_temperature(true_classes(val), probabilities(val))
    else:
        why = "no validation window to fit a temperature on"
    after = tempered(proba, temperature) if temperature is not None else None
    curve = risk_coverage(y_true, proba)
    return {
        "temperature": temperature,
        "fitted_on": "val",
        "why": why,
        "n_bins": N_BINS,
        "before": _scores(y_true, proba),
        "after": _scores(y_true, after) if after is not None else None,
        "bins_before": _bins(y_true, proba),
        "bins_after": _bins(y_true, after) if after is not None else None,
        "aurc": finite_or_none(curve.area),
        "risk_coverage": [{"coverage": c, "risk": r} for c, r in curve.points()],
    }


def _scores(y_true: npt.NDArray[np.int64], proba: Floats) -> Sureness:
    return {
        "brier": finite_or_none(brier(y_true, proba)),
        "log_loss": finite_or_none(log_loss(y_true, proba)),
        "ece": finite_or_none(calibration_error(y_true, proba)),
    }


def _bins(y_true: npt.NDArray[np.int64], proba: Floats) -> list[Bin]:
    return [
        {"confidence": found.confidence, "accuracy": found.accuracy, "n": found.n}
        for found in reliability_bins(y_true, proba)
    ]

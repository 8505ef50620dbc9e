"""Ensemble of two models: the mean of their probabilities, from stored predictions alone."""

from typing import Final

import polars as pl

from cis490_pipeline.evaluation.predictions import PROBABILITY_COLUMNS, checked_predictions
from cis490_pipeline.evaluation.uncertainty.paired import require_identical_windows

NAME: Final = "ensemble"
"""How the name of an ensemble begins, before its variant."""


def ensemble_name(variant: str) -> str:
    """Name of a variant's ensemble in files and reports: ``ensemble_realistic``."""
    return f"{NAME}_{variant}"


def variant_of(name: str) -> str:
    """Variant of an ensemble, by its name."""
    return name.removeprefix(f"{NAME}_")


def mean_predictions(first: pl.DataFrame, second: pl.DataFrame) -> pl.DataFrame:
    """Average two models' probabilities window by window.

    Parameters
    ----------
    first, second : prediction frames of the same windows, in any order.

    Returns
    -------
    A prediction frame sorted by episode and window; its other columns are the first's.

    Raises
    ------
    EvaluationError
        If the two are not of the same windows with the same truth.
    """
    require_identical_windows({"the first": first, "the second": second})
    keys = ["episode_id", "window_idx"]
    one, other = first.sort(keys), second.sort(keys)
    mean = {name: (one[name] + other[name]) / 2 for name in PROBABILITY_COLUMNS}
    return checked_predictions(one.with_columns(**mean))

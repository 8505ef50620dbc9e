"""Macro F1 over more and over fewer windows: how much the score depends on their choice."""

from typing import Final

import polars as pl

from cis490_pipeline.evaluation.predictions import matrices_of
from cis490_pipeline.evaluation.schema.report import Subset
from cis490_pipeline.evaluation.uncertainty.intervals import N_RESAMPLES, episode_interval

_WHOLE: Final = 1 - 1e-9
"""Purity is a quotient of nanoseconds; rounding makes no window impure."""

SCORED, WITH_BASELINE, PURE = "scored", "with_baseline_windows", "pure"

SUBSETS: Final = {
    SCORED: "windows clear of the first 15 s: the headline",
    WITH_BASELINE: "also the windows that touch the 15 s an episode is calibrated by",
    PURE: "scored windows that lie in one phase from end to end",
}


def subset_scores(
    test: pl.DataFrame,
    baseline_windows: pl.DataFrame | None,
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
) -> list[Subset]:
    """Macro F1 of the test side over each subset of ``SUBSETS``; one without windows is null.

    Parameters
    ----------
    test : rows of ``PREDICTION_SCHEMA`` of the test side, of windows that may be scored.
    baseline_windows : those that touch the baseline; None if they were not predicted.
    """
    frames = {
        SCORED: test,
        WITH_BASELINE: None if baseline_windows is None else pl.concat([test, baseline_windows]),
        PURE: test.filter(pl.col("purity") >= _WHOLE),
    }
    rows: list[Subset] = []
    for name, windows in frames.items():
        why = None
        if windows is None:
            why = "not asked of the windows that touch the baseline"
        elif not windows.height:
            why = "no such window"
        matrices = matrices_of(test.clear() if windows is None else windows)
        interval = episode_interval(matrices.counts, seed=seed, n_resamples=n_resamples)
        rows.append({"subset": name, "what": SUBSETS[name], **interval.to_dict(), "why": why})
    return rows

"""Robustness: the change of each model's macro F1 under a recording fault, on the same windows."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain.arrays import Ints
from cis490_pipeline.evaluation.confusion import episode_confusions, macro_f1
from cis490_pipeline.evaluation.schema.board import RobustnessRow
from cis490_pipeline.evaluation.uncertainty.intervals import N_RESAMPLES, finite_or_none
from cis490_pipeline.evaluation.uncertainty.paired import compare

ROBUSTNESS_VERSION: Final = "1"
"""Raised when a number of it is computed in another way."""


def robustness_rows(
    y_true: Ints,
    episodes: npt.NDArray[np.str_],
    unperturbed: Mapping[str, Ints],
    perturbed: Mapping[str, Mapping[str, Ints]],
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
) -> list[RobustnessRow]:
    """Score every model under every scenario against itself without it, paired by episode.

    Parameters
    ----------
    y_true, episodes : (n_windows,) true class and episode id of each window.
    unperturbed : (n_windows,) predicted classes by model.
    perturbed : the same by scenario, then by model.

    Returns
    -------
    One row per model and scenario: ``macro_f1`` under the fault, ``difference`` from
    ``macro_f1_unperturbed`` (negative is a loss) over the classes of truth or either prediction,
    its paired interval by episode, ``n_windows_changed`` (predicted otherwise), and ``why`` where
    there is no interval. No p-value: nothing is chosen by these, and there are many.
    """
    matrices = {
        model: episode_confusions(y_true, predicted, episodes)
        for model, predicted in unperturbed.items()
    }
    rows: list[RobustnessRow] = []
    for scenario, of_models in perturbed.items():
        for model, predicted in of_models.items():
            before, after = matrices[model], episode_confusions(y_true, predicted, episodes)
            pair = compare(after.counts, before.counts, seed=seed, n_resamples=n_resamples)
            rows.append(
                {
                    "model": model,
                    "scenario": scenario,
                    "macro_f1": finite_or_none(macro_f1(after.pooled)),
                    "macro_f1_unperturbed": finite_or_none(macro_f1(before.pooled)),
                    "difference": finite_or_none(pair.difference),
                    "ci_low": finite_or_none(pair.low),
                    "ci_high": finite_or_none(pair.high),
                    "n_episodes": pair.n_episodes,
                    "n_windows": after.n_windows,
                    "n_windows_changed": int((predicted != unperturbed[model]).sum()),
                    "why": None
                    if np.isfinite(pair.difference)
                    else f"episodes: {pair.n_episodes}; an interval takes two",
                }
            )
    return rows

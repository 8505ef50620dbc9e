"""Stored predictions of a recipe's models, scored over sham-armed controls."""

from collections.abc import Collection, Mapping, Sequence
from itertools import starmap
from typing import Final

import polars as pl

from cis490_pipeline.domain import Recipe
from cis490_pipeline.domain.catalogue import MODELS, ON_REQUEST
from cis490_pipeline.domain.terms import model_name
from cis490_pipeline.evaluation.predictions import read_predictions
from cis490_pipeline.evaluation.probes.control_score import control_score
from cis490_pipeline.evaluation.schema.controls import ModelControlScore
from cis490_pipeline.storage.data_paths import DataPaths
from cis490_pipeline.store.recorder_notes import Sham

_MANIFEST: Final = "predictions.json"


def stored_control_scores(
    paths: DataPaths,
    recipe: Recipe,
    shams: Mapping[str, Sequence[Sham]],
    hosts: Collection[str],
    *,
    seed: int,
) -> list[ModelControlScore]:
    """Score every model of a recipe that has predictions, on the controls of some hosts.

    Nothing is predicted, so no side is opened; predictions of other hosts are not looked at.

    Raises
    ------
    EvaluationError
        If stored predictions are damaged.
    """
    folders = {
        name: paths.checkpoint(recipe, name) for name in starmap(model_name, (*MODELS, *ON_REQUEST))
    }
    return [
        {
            "model": name,
            **control_score(
                read_predictions(folder).filter(pl.col("host_id").is_in(list(hosts))),
                shams,
                seed=seed,
            ),
        }
        for name, folder in folders.items()
        if (folder / _MANIFEST).is_file()
    ]

"""Cross-host transfer: macro F1 of models trained on one host and tested on another."""

from typing import Final

import polars as pl

from cis490_pipeline.errors import PipelineError
from cis490_pipeline.evaluation.predictions import matrices_of
from cis490_pipeline.evaluation.schema.study import HostCell, HostStudy
from cis490_pipeline.evaluation.uncertainty.intervals import episode_interval
from cis490_pipeline.experiment.studies.all_windows import Arrangement
from cis490_pipeline.experiment.studies.drawing import folds, ids_of, train_and_val
from cis490_pipeline.experiment.studies.runs import StudyRuns

N_FOLDS: Final = 5
NOTHING_SCORED: Final = "it has no episode that may be scored"

Predicted = pl.DataFrame | str
"""Predictions, or why there are none."""


def cross_host(runs: StudyRuns, episodes: pl.DataFrame, *, seed: int) -> HostStudy:
    """Macro F1 by the host trained on and the host tested on.

    Parameters
    ----------
    episodes : all that may be trained on: episode_id, host_id, profile, scorable.
    seed : of the intervals' draws.

    Returns
    -------
    ``hosts`` and ``cells``, one for each pair of hosts; ``n_host_episodes`` counts those of the
    host trained on, validation included, ``n_episodes`` those scored.

    Notes
    -----
    Off the diagonal a model is trained on all of a host. On it, each of five folds by episode is
    scored by a model of the other four: it has a fifth less to learn from. A fifth of each
    profile's training episodes validates, at least one.
    """
    hosts = sorted(episodes["host_id"].unique())
    progress, task = runs.workspace.progress, f"{runs.name}: train on each host"
    cells: list[HostCell] = []
    for done, host in enumerate(hosts):
        progress(task, done, len(hosts))
        of_host = episodes.filter(host_id=host)
        others = episodes.filter(pl.col("host_id") != host, "scorable")
        diagonal = _cell(host, host, of_host, of_host, seed, _within(runs, host, of_host))
        cells += [diagonal, *_across(runs, host, of_host, others, hosts, seed)]
    progress(task, len(hosts), len(hosts))
    return {"hosts": hosts, "n_folds": N_FOLDS, "cells": cells}


def _within(runs: StudyRuns, host: str, of_host: pl.DataFrame) -> Predicted:
    scored_by_fold = []
    try:
        for k, fold in enumerate(folds(of_host.filter("scorable"), N_FOLDS)):
            rest = of_host.filter(~pl.col("episode_id").is_in(fold))
            train, val = train_and_val(rest)
            name = f"{host}, fold {k + 1} of {N_FOLDS}"
            frame = runs.predictions(Arrangement(name=name, train=train, val=val, scored=fold))
            scored_by_fold.append(frame.filter(side="test"))
    except PipelineError as fault:
        return str(fault)
    return pl.concat(scored_by_fold) if scored_by_fold else NOTHING_SCORED


def _across(
    runs: StudyRuns,
    host: str,
    of_host: pl.DataFrame,
    others: pl.DataFrame,
    hosts: list[str],
    seed: int,
) -> list[HostCell]:
    train, val = train_and_val(of_host)
    predicted: Predicted
    try:
        arrangement = Arrangement(name=f"only {host}", train=train, val=val, scored=ids_of(others))
        predicted = runs.predictions(arrangement).filter(side="test")
    except PipelineError as fault:
        predicted = str(fault)
    return [
        _cell(
            host,
            other,
            of_host,
            others.filter(host_id=other),
            seed,
            predicted if isinstance(predicted, str) else predicted.filter(host_id=other),
        )
        for other in hosts
        if other != host
    ]


def _cell(
    trained_on: str,
    tested_on: str,
    train: pl.DataFrame,
    test: pl.DataFrame,
    seed: int,
    predicted: Predicted,
) -> HostCell:
    untrained = sorted(set(test["profile"].drop_nulls()) - set(train["profile"].drop_nulls()))
    cell: HostCell = {
        "trained_on": trained_on,
        "tested_on": tested_on,
        "diagonal": trained_on == tested_on,
        "n_host_episodes": train.height,
        "untrained_profiles": untrained,
        "macro_f1": None,
        "ci_low": None,
        "ci_high": None,
        "ci_level": None,
        "ci_method": None,
        "n_episodes": 0,
        "n_windows": 0,
        "why": None,
    }
    if isinstance(predicted, str):
        return {**cell, "why": predicted}
    if predicted.is_empty():
        return {**cell, "why": NOTHING_SCORED}
    return {**cell, **episode_interval(matrices_of(predicted).counts, seed=seed).to_dict()}

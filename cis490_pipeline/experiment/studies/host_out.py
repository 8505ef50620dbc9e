"""Leave-one-host-out: each host predicted by a model of the others; all are scored at once."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Side
from cis490_pipeline.errors import PipelineError
from cis490_pipeline.evaluation.generalization.host_out import Pooled, host_out_scores
from cis490_pipeline.evaluation.predictions import PREDICTION_COLUMNS
from cis490_pipeline.evaluation.schema.host_out import HostOutFold, HostOutStudy
from cis490_pipeline.experiment.studies.all_windows import Arrangement
from cis490_pipeline.experiment.studies.drawing import drawn, ids_of
from cis490_pipeline.experiment.studies.runs import StudyRuns

MIN_HOSTS: Final = 3
"""One is scored, another validates, and at least one trains."""

Runs = Sequence[StudyRuns]
"""The trainings of one model, by seed."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Episodes whose hosts are left out in turn.

    Attributes
    ----------
    episodes : episode_id, host_id, profile, scorable.
    opened_test : how many episodes of the recipe's test side are scored, by host.
    """

    episodes: pl.DataFrame
    opened_test: dict[str, int] = field(default_factory=dict)


def scope_of(episodes: pl.DataFrame, index: pl.DataFrame, settings: Settings) -> Scope:
    """Choose the episodes: those of the train and val sides, which one may look at.

    Parameters
    ----------
    episodes : all that may be trained on: episode_id, host_id, profile, scorable.
    index : those that have a side of the recipe, with it.

    Notes
    -----
    Where validation hosts are named, every other host but the training hosts is kept back, in
    every recipe. Where none is and the two sides hold fewer than three hosts, every episode is
    taken: that opens the test side, and ``opened_test`` counts it.
    """
    known = index.filter(pl.col("side").is_in([Side.TRAIN, Side.VAL]))
    if settings.val_hosts:
        return Scope(episodes=without_kept_back(known, settings))
    if known["host_id"].n_unique() >= MIN_HOSTS:
        return Scope(episodes=known)
    tested = index.filter("scorable", side=Side.TEST).group_by("host_id").len().sort("host_id")
    return Scope(episodes=episodes, opened_test=dict(tested.iter_rows()))


def without_kept_back(episodes: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Leave out the hosts kept for test: where validation hosts are named, all unnamed ones."""
    if not settings.val_hosts:
        return episodes
    named = sorted({*settings.train_hosts, *settings.val_hosts})
    return episodes.filter(pl.col("host_id").is_in(named))


def folds_of(hosts: Collection[str], validators: Collection[str]) -> list[HostOutFold]:
    """Leave each host out once; the next one after it in sorted order that can validates.

    Parameters
    ----------
    hosts : that are scored in turn.
    validators : those among them that can stop a training, having infected episodes.

    Returns
    -------
    None without a validator besides the scored host.
    """
    ordered = sorted(hosts)
    folds: list[HostOutFold] = []
    for k, scored in enumerate(ordered):
        following = [*ordered[k + 1 :], *ordered[:k]]
        val = next((host for host in following if host in validators), None)
        if val is not None:
            train = sorted(set(ordered) - {scored, val})
            folds.append({"scored": scored, "val": val, "train": train, "n_episodes": 0})
    return folds


def leave_one_host_out(models: Sequence[Runs], scope: Scope, *, seed: int) -> HostOutStudy:
    """Train without each host in turn, pool what is predicted of them, and compare the models.

    Parameters
    ----------
    models : the trainings of each model, one for each seed.
    seed : of the intervals and permutations.

    Returns
    -------
    ``folds``, ``rows`` and ``pairs``; ``why`` where fewer than three hosts can be scored.

    Notes
    -----
    One training for each host, model and seed. A model that cannot be trained without one of the
    hosts has no score at all: over fewer hosts it could not be compared.
    """
    scorable = scope.episodes.filter("scorable")
    hosts = set(scorable["host_id"])
    validators = set(scorable.filter(pl.col("profile").is_not_null())["host_id"])
    folds = folds_of(hosts, validators)
    counts = dict(scorable.group_by("host_id").len().iter_rows())
    folds = [{**fold, "n_episodes": counts[fold["scored"]]} for fold in folds]
    study: HostOutStudy = {
        "folds": folds,
        "opened_test": scope.opened_test,
        "rows": [],
        "pairs": [],
        "why": None,
    }
    if len(hosts) < MIN_HOSTS or len(folds) < len(hosts):
        why = (
            f"{len(hosts)} hosts may be scored and {len(validators)} of them validate; "
            f"{MIN_HOSTS} hosts are needed, two of them with infected episodes"
        )
        return {**study, "folds": [], "opened_test": {}, "why": why}
    arrangements = [_arrangement(fold, scope.episodes, scorable) for fold in folds]
    pooled = [_pooled(runs, arrangements) for runs in models]
    rows, pairs = host_out_scores(pooled, seed=seed)
    return {**study, "rows": rows, "pairs": pairs}


def _arrangement(fold: HostOutFold, episodes: pl.DataFrame, scorable: pl.DataFrame) -> Arrangement:
    return Arrangement(
        name=f"without {fold['scored']}",
        train=drawn(ids_of(episodes.filter(pl.col("host_id").is_in(fold["train"])))),
        val=ids_of(scorable.filter(host_id=fold["val"])),
        scored=ids_of(scorable.filter(host_id=fold["scored"])),
    )


def _pooled(runs: Runs, arrangements: Sequence[Arrangement]) -> Pooled:
    first, total = runs[0], len(runs) * len(arrangements)
    progress, task = first.workspace.progress, f"{first.name}: leave one host out"
    by_seed: dict[int, pl.DataFrame] = {}
    done, why = 0, None
    progress(task, done, total)
    try:
        for of_seed in runs:
            frames = []
            for arrangement in arrangements:
                frame = of_seed.predictions(arrangement)
                frames.append(frame.filter(side=Side.TEST).select(PREDICTION_COLUMNS))
                done += 1
                progress(task, done, total)
            by_seed[of_seed.seed] = pl.concat(frames)
    except PipelineError as fault:
        by_seed, why = {}, f"{arrangements[done % len(arrangements)].name}: {fault}"
    architecture = str(first.architecture)
    return Pooled(architecture=architecture, variant=first.variant, by_seed=by_seed, why=why)

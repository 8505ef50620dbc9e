"""Leave-one-profile-out: alarms and novelty scores of a model that was trained without it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import PHASES, Side
from cis490_pipeline.errors import PipelineError
from cis490_pipeline.evaluation.detection.filtered_alarm import (
    FilteredAlarm,
    fit_filtered_alarm,
    is_infected,
)
from cis490_pipeline.evaluation.detection.fit import label_sequences
from cis490_pipeline.evaluation.detection.windows import TRUTH_COLUMNS
from cis490_pipeline.evaluation.generalization.out_of_distribution import (
    energy_score,
    episode_auroc,
    max_softmax_score,
    share_of,
)
from cis490_pipeline.evaluation.predictions import probabilities
from cis490_pipeline.evaluation.schema.study import (
    Alarms,
    ProfileRow,
    ProfileStudy,
    QuietWindows,
    ReferenceRow,
)
from cis490_pipeline.experiment.pipeline.corpus import GridShards
from cis490_pipeline.experiment.studies.all_windows import Arrangement, chosen
from cis490_pipeline.experiment.studies.drawing import drawn, ids_of
from cis490_pipeline.experiment.studies.runs import StudyRuns, logits_of
from cis490_pipeline.features.datasets.load import window_keys
from cis490_pipeline.features.grids.store import GridStore

UNSEEN_SIDE: Final = "test side"
SAME_SIDES: Final = "train and val sides"

Score = Callable[[pl.DataFrame], npt.NDArray[np.float64]]


SCORES: Final[Mapping[str, Score]] = {
    "max_softmax": lambda frame: max_softmax_score(probabilities(frame)),
    "energy": lambda frame: energy_score(logits_of(frame)),
}


def leave_one_profile_out(runs: StudyRuns, index: pl.DataFrame, *, seed: int) -> ProfileStudy:
    """Train without each profile in turn, and look for it.

    Parameters
    ----------
    index : episodes with their side of the recipe: episode_id, host_id, profile, side, scorable.
    seed : of the intervals' draws.

    Returns
    -------
    ``rows`` (one per profile and scope) and ``reference`` (the same alarms of
    the model that was trained with all profiles, on the test side).

    Notes
    -----
    Scopes: the profile's episodes on the test side, and those on the train and val sides, which
    this training never saw either but whose hosts it knows. Known windows are the infected ones of
    other profiles: on the test side, or of val, by which training was stopped. The alarm learns the
    order of phases from the episodes trained on and its thresholds from val, so the profile is in
    neither.
    """
    profiles = sorted(index["profile"].drop_nulls().unique())
    progress, task = runs.workspace.progress, f"{runs.name}: leave one profile out"
    progress(task, 0, len(profiles) + 1)
    rows: list[ProfileRow] = []
    for done, profile in enumerate(profiles):
        rows += _rows(runs, index, profile, seed)
        progress(task, done + 1, len(profiles) + 1)
    reference = _reference(runs, index, profiles)
    progress(task, len(profiles) + 1, len(profiles) + 1)
    return {"rows": rows, "reference": reference}


def _rows(runs: StudyRuns, index: pl.DataFrame, profile: str, seed: int) -> list[ProfileRow]:
    of_it = pl.col("profile") == profile
    frames = {
        UNSEEN_SIDE: index.filter(of_it, side=Side.TEST),
        SAME_SIDES: index.filter(of_it, pl.col("side").is_in([Side.TRAIN, Side.VAL]), "scorable"),
    }
    try:
        arrangement = _arrangement(index, profile)
        predicted = runs.predictions(arrangement)
        alarm = _alarm(runs, arrangement, predicted)
    except PipelineError as fault:
        return [_empty(profile, scope, frame, str(fault)) for scope, frame in frames.items()]
    known = {
        UNSEEN_SIDE: index.filter(~of_it.fill_null(False), side=Side.TEST),
        SAME_SIDES: predicted.filter(side=Side.VAL),
    }
    return [
        _row(
            profile,
            scope,
            predicted.filter(chosen(frame["episode_id"])),
            predicted.filter(chosen(known[scope]["episode_id"].unique())),
            alarm,
            seed,
        )
        for scope, frame in frames.items()
    ]


def _arrangement(index: pl.DataFrame, without: str | None) -> Arrangement:
    """Train on the train side without a profile; score the test side and the profile."""
    of_it = (pl.col("profile") == without).fill_null(False) if without else pl.lit(False)
    train = drawn(index.filter(~of_it, side=Side.TRAIN)["episode_id"])
    val = ids_of(index.filter(~of_it, side=Side.VAL))
    left_out = index.filter(of_it, pl.col("side").is_in([Side.TRAIN, Side.VAL]), "scorable")
    scored = ids_of(pl.concat([index.filter(side=Side.TEST), left_out]))
    name = f"without {without}" if without else "with all profiles"
    return Arrangement(name=name, train=train, val=val, scored=scored)


def _alarm(runs: StudyRuns, arrangement: Arrangement, predicted: pl.DataFrame) -> FilteredAlarm:
    windows = window_keys(runs.pool.open(), Side.TRAIN)
    trained_on = windows.filter(chosen(arrangement.train))
    labels = GridStore(GridShards(runs.workspace).folder).frame.select(TRUTH_COLUMNS)
    return fit_filtered_alarm(predicted.filter(side=Side.VAL), label_sequences(trained_on), labels)


def _reference(runs: StudyRuns, index: pl.DataFrame, profiles: list[str]) -> list[ReferenceRow]:
    try:
        arrangement = _arrangement(index, None)
        predicted = runs.predictions(arrangement)
        alarm = _alarm(runs, arrangement, predicted)
    except PipelineError as fault:
        return [{"profile": name, "alarm": None, "why": str(fault)} for name in profiles]
    test = predicted.filter(side=Side.TEST)
    return [
        {"profile": name, "alarm": alarms(test.filter(profile=name), alarm), "why": None}
        for name in profiles
    ]


def _row(
    profile: str,
    scope: str,
    of_it: pl.DataFrame,
    known: pl.DataFrame,
    alarm: FilteredAlarm,
    seed: int,
) -> ProfileRow:
    novel, familiar = of_it.filter(is_infected()), known.filter(is_infected())
    groups = [frame["episode_id"].to_numpy().astype(str) for frame in (novel, familiar)]
    return {
        **_empty(profile, scope, of_it, None if of_it.height else "the profile was not run there"),
        "alarm": alarms(of_it, alarm),
        "auroc": {
            name: episode_auroc(score(novel), groups[0], score(familiar), groups[1], seed=seed)
            for name, score in SCORES.items()
        },
        "quiet": _quiet(known, alarm),
        "alarm_of": alarm.to_dict(),
    }


def alarms(of_profile: pl.DataFrame, alarm: FilteredAlarm) -> Alarms:
    """Count the infected episodes in which the alarm is on, and in which it was off before.

    Returns
    -------
    ``n_episodes`` that hold an infected window; ``any``: those in which the alarm is on at the end
    of an infected window; ``new``: those of them in which it was off at the end of the last window
    before, so that the infection raised it. Both with Wilson's interval.
    """
    fires = pl.Series(alarm.fires(of_profile), dtype=pl.Boolean)
    episodes = list(_by_episode(of_profile.with_columns(fires=fires, infected=is_infected())))
    n_any = sum(is_on for is_on, _ in episodes)
    n_new = sum(is_on and not before for is_on, before in episodes)
    return {
        "n_episodes": len(episodes),
        "any": {"n": n_any, **share_of(n_any, len(episodes))},
        "new": {"n": n_new, **share_of(n_new, len(episodes))},
    }


def _by_episode(frame: pl.DataFrame) -> Iterator[tuple[bool, bool]]:
    for _, windows in frame.sort("window_idx").group_by("episode_id", maintain_order=True):
        infected = windows["infected"].to_numpy()
        if infected.any():
            fires, first = windows["fires"].to_numpy(), int(infected.argmax())
            yield bool((fires & infected).any()), bool(first > 0 and fires[first - 1])


def _quiet(known: pl.DataFrame, alarm: FilteredAlarm) -> QuietWindows:
    """Count the false alarms of the same alarm, where nothing is infected."""
    frame = known.with_columns(fires=pl.Series(alarm.fires(known), dtype=pl.Boolean))
    quiet = frame.filter(~is_infected())
    clean_only = frame.filter(pl.col("profile").is_null(), y_true=str(PHASES[0]))
    by_run = clean_only.group_by("episode_id").agg(pl.col("fires").any())
    return {
        "n_windows": quiet.height,
        "share_of_windows": float(quiet["fires"].to_numpy().mean()) if quiet.height else None,
        "n_clean_only_episodes": by_run.height,
        "n_clean_only_alarmed": int(by_run["fires"].sum()),
    }


def _empty(profile: str, scope: str, frame: pl.DataFrame, why: str | None) -> ProfileRow:
    return {
        "profile": profile,
        "scope": scope,
        "hosts": sorted(frame["host_id"].unique()),
        "alarm": None,
        "auroc": None,
        "quiet": None,
        "alarm_of": None,
        "why": why,
    }

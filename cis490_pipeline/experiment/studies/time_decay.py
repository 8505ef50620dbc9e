"""Time decay: macro F1 by the time since training, and the area under it."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

import polars as pl

from cis490_pipeline.errors import PipelineError
from cis490_pipeline.evaluation.generalization.area_under_time import decay
from cis490_pipeline.evaluation.predictions import matrices_of
from cis490_pipeline.evaluation.schema.study import TimeStudy
from cis490_pipeline.experiment.studies.all_windows import Arrangement
from cis490_pipeline.experiment.studies.drawing import drawn, ids_of
from cis490_pipeline.experiment.studies.runs import StudyRuns
from cis490_pipeline.splits.placement import instant

TRAIN_SHARE: Final = 0.5
"""Of the episodes, those received first; the last fifth of them validates."""
VAL_SHARE: Final = 0.2
MAX_SLOTS: Final = 6
MIN_EPISODES: Final = 2
"""In every slot; fewer slots are made until they all have as many."""

Times = list[tuple[datetime, str]]


def time_decay(runs: StudyRuns, episodes: pl.DataFrame, *, seed: int) -> TimeStudy:
    """Train on what was received first; score what came later in equal slots of time.

    Parameters
    ----------
    episodes : all that may be trained on: episode_id, received_at_wall, scorable.
    seed : of the intervals' draws.

    Returns
    -------
    ``cut`` (when training ended), ``slots`` with their ends, interval and counts, ``aut`` with its
    interval, and ``why`` where there is none.

    Notes
    -----
    The slots are as many as leave two episodes in each, six at most. This is found from the times
    alone, before anything is trained. Hosts are on both sides of the cut.
    """
    runs.workspace.progress(f"{runs.name}: time decay", 0, 1)
    rows = episodes.select("received_at_wall", "episode_id").iter_rows()
    ordered = sorted((instant(at), name) for at, name in rows)
    before, after = _cut(ordered, TRAIN_SHARE)
    train, val = _cut(before, 1 - VAL_SHARE)
    scorable = set(ids_of(episodes.filter("scorable")))
    later = [row for row in after if row[1] in scorable]
    cut = after[0][0].isoformat() if after else None
    nothing: TimeStudy = {
        "cut": cut,
        "slots": [],
        "aut": None,
        "ci_low": None,
        "ci_high": None,
        "why": None,
    }
    edges = slot_edges([at for at, _ in later])
    if edges is None:
        why = f"{len(later)} episodes after the cut do not fill two slots of time"
        return {**nothing, "why": why}
    try:
        arrangement = Arrangement(
            name="received first",
            train=drawn(name for _, name in train),
            val=drawn(name for _, name in val if name in scorable),
            scored=tuple(sorted(name for _, name in later)),
        )
        scored = runs.predictions(arrangement).filter(side="test")
    except PipelineError as fault:
        return {**nothing, "why": str(fault)}
    runs.workspace.progress(f"{runs.name}: time decay", 1, 1)
    members = [[name for at, name in later if a <= at < b] for a, b in pairwise(edges)]
    in_slots = [scored.filter(pl.col("episode_id").is_in(ids)) for ids in members]
    scores, area = decay([matrices_of(rows).counts for rows in in_slots], seed=seed)
    slots = zip(pairwise(edges), scores, strict=True)
    return {
        "cut": cut,
        "n_train_episodes": len(train),
        "n_val_episodes": len(val),
        "slots": [{"from": a.isoformat(), "to": b.isoformat(), **score} for (a, b), score in slots],
        **area,
    }


def slot_edges(times: list[datetime]) -> list[datetime] | None:
    """Find the ends of equal slots of time that hold two each: six at most; None below two."""
    for n_slots in range(MAX_SLOTS, 1, -1):
        if not times or times[0] == times[-1]:
            return None
        width = (times[-1] - times[0]) / n_slots
        # The last end just after the last episode, which is in the last slot.
        edges = [times[0] + k * width for k in range(n_slots)]
        edges.append(times[-1] + timedelta(microseconds=1))
        held = [sum(a <= at < b for at in times) for a, b in pairwise(edges)]
        if min(held) >= MIN_EPISODES:
            return edges
    return None


def _cut(ordered: Times, share: float) -> tuple[Times, Times]:
    """Part what was received by time; equal instants stay together, on the later side."""
    if not ordered:
        return [], []
    at = ordered[min(int(share * len(ordered)), len(ordered) - 1)][0]
    return [row for row in ordered if row[0] < at], [row for row in ordered if row[0] >= at]

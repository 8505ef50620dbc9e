"""Dealing episodes to the sides of a study, by fixed draws that no order of arrival changes."""

from collections.abc import Iterable
from typing import Final

import polars as pl

from cis490_pipeline.features.calibration.segments import hash_order

MAX_TRAIN_EPISODES: Final = 2000
"""Of a training; a lab's store holds 76,660, and a study trains dozens of models."""
VAL_SHARE: Final = 0.2


def ids_of(episodes: pl.DataFrame) -> tuple[str, ...]:
    """Ids of the episodes of a frame, sorted."""
    return tuple(sorted(episodes["episode_id"]))


def drawn(episode_ids: Iterable[str], most: int = MAX_TRAIN_EPISODES) -> tuple[str, ...]:
    """At most so many of the episodes, always the same ones, sorted."""
    return tuple(sorted(sorted(episode_ids, key=hash_order)[:most]))


def train_and_val(episodes: pl.DataFrame) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Part episodes (id, profile, scorable): a fifth of each profile's, at least one, validates.

    A profile with a single episode is trained on; what may not be scored is trained on too.
    """
    val: list[str] = []
    for _, members in episodes.group_by("profile"):
        candidates = sorted(members.filter(pl.col("scorable"))["episode_id"], key=hash_order)
        wanted = min(max(1, int(VAL_SHARE * members.height + 0.5)), members.height - 1)
        val += candidates[:wanted]
    train = drawn(set(episodes["episode_id"]) - set(val))
    return train, drawn(val)


def folds(episodes: pl.DataFrame, n_folds: int) -> list[tuple[str, ...]]:
    """Folds of episodes, stratified by profile; empty folds are left out."""
    rows = episodes.select("episode_id", "profile").rows()
    ordered = sorted(rows, key=lambda row: (row[1] or "", hash_order(row[0])))
    drawn = [tuple(sorted(row[0] for row in ordered[k::n_folds])) for k in range(n_folds)]
    return [fold for fold in drawn if fold]

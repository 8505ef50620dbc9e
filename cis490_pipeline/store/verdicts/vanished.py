"""Episodes that had a verdict and are no longer in the store: what stays of them, and the limit.

A store that is not mounted, or has lost its index, looks like a small one. Its episodes are not
rejected for that: their verdicts stay as they were, with the time of the sweep that first missed
them, so that nothing made from them becomes stale, and nothing is read again once they are back.
"""

from typing import Final

import polars as pl

from cis490_pipeline.domain import Verdict
from cis490_pipeline.errors import StoreError
from cis490_pipeline.store.verdicts.corpus_marks import with_marks, without_marks

MAX_LOST: Final = 0.05
"""Largest share of the known episodes that may vanish, or become unreadable, in one sweep."""
_NAMED: Final = 3
_EPISODE: Final = ("host_id", "episode_id")
_REMEDY: Final = (
    "the earlier verdicts stay. Mount the store or restore its index and sweep again; if they are "
    "gone for good: cis490 validate --accept-loss (in Dagster: accept_loss of resource workspace)"
)


def known_episodes(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Rows of the episodes that were read; one whose archive never arrived cannot be lost."""
    return verdicts.filter(pl.col("sha256").is_not_null() | pl.col("content_digest").is_not_null())


def vanished_rows(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Rows of the episodes that the last sweep missed, by host and id."""
    if "vanished_at" not in verdicts.columns:
        # Written before the column existed.
        return verdicts.clear()
    return verdicts.filter(pl.col("vanished_at").is_not_null()).sort(_EPISODE)


def vanished_episodes(known: pl.DataFrame, listing: pl.DataFrame) -> pl.DataFrame:
    """Rows of known episodes without a file now, or without the row in the index they had.

    Parameters
    ----------
    known : rows of `known_episodes`.
    listing : ``host_id``, ``episode_id``, ``is_indexed`` and ``has_file`` of what is there now.

    Returns
    -------
    The rows with both columns of the listing, false where the episode is not listed.
    """
    now = listing.select(*_EPISODE, "is_indexed", "has_file")
    joined = known.join(now, on=_EPISODE, how="left", maintain_order="left").with_columns(
        pl.col("is_indexed", "has_file").fill_null(value=False)
    )
    was_indexed = pl.col("received_at_wall").is_not_null()
    return joined.filter(~pl.col("has_file") | (was_indexed & ~pl.col("is_indexed")))


def require_few_vanished(
    store: str, known: pl.DataFrame, vanished: pl.DataFrame, *, verdicts_of: str
) -> None:
    """Refuse a sweep that would miss too much of what was known.

    Parameters
    ----------
    store : name of the store that is swept.
    vanished : rows of `vanished_episodes`; those missed by an earlier sweep do not count again.
    verdicts_of : name of the store that the known verdicts are of.

    Raises
    ------
    StoreError
        If over 5 % of the known episodes vanished, or every row of the index.
    """
    there = known.filter(pl.col("vanished_at").is_null())
    lost = vanished.filter(pl.col("vanished_at").is_null())
    unindexed = lost.filter(pl.col("received_at_wall").is_not_null() & ~pl.col("is_indexed"))
    n_indexed = there["received_at_wall"].count()
    lost_index = n_indexed > 0 and unindexed.height == n_indexed
    if not lost_index and lost.height <= MAX_LOST * there.height:
        return
    of_other = verdicts_of != store
    n_without_file = lost.filter(~pl.col("has_file")).height
    raise StoreError(
        f"{store}: {lost.height} of {there.height} episodes known"
        f"{f' from {verdicts_of}' if of_other else ''} are not there, first {_first(lost)}: "
        f"{unindexed.height} without their row in index.jsonl, {n_without_file} without a file; at "
        f"most {MAX_LOST:.0%} may vanish between two sweeps; "
        f"{'give another store a data folder of its own (--data); ' if of_other else ''}{_REMEDY}"
    )


def require_few_unreadable(store: str, known: pl.DataFrame, errored: pl.DataFrame) -> None:
    """Refuse a sweep in which over 5 % of the known episodes could not be read any more.

    Raises `StoreError`. A disk or mount that fails must not take verdicts and grids with it.
    """
    there = known.filter(pl.col("vanished_at").is_null())
    lost = errored.join(there, on=_EPISODE, how="semi", maintain_order="left")
    if lost.height > MAX_LOST * there.height:
        why = "; ".join(lost["details"].to_list()[0])
        raise StoreError(
            f"{store}: {lost.height} of {there.height} episodes known cannot be read any more, "
            f"first {_first(lost)}: {why}; at most {MAX_LOST:.0%} may be lost in one sweep; "
            f"{_REMEDY}"
        )


def kept_rows(vanished: pl.DataFrame, missed_at: str) -> pl.DataFrame:
    """Rows of vanished episodes as the verdicts keep them: with when first missed, without marks.

    Parameters
    ----------
    vanished : columns of ``VALIDATION_SCHEMA``.
    """
    return without_marks(vanished.with_columns(pl.col("vanished_at").fill_null(missed_at)))


def without_vanished(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Drop the rows of vanished episodes, and compute the corpus-wide marks of the others again."""
    there = verdicts.filter(pl.col("vanished_at").is_null())
    is_errored = pl.col("status") == Verdict.ERRORED.value
    return with_marks(
        pl.concat([without_marks(there.filter(~is_errored)), there.filter(is_errored)])
    )


def episode_names(rows: pl.DataFrame) -> list[str]:
    """Name episodes as ``host/id``, sorted."""
    names = rows.select(pl.concat_str(*_EPISODE, separator="/")).to_series()
    return sorted(names.to_list())


def _first(rows: pl.DataFrame) -> str:
    return ", ".join(episode_names(rows)[:_NAMED])

"""Human-readable overview of a store, computed from its verdicts."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from cis490_pipeline.domain import NS_PER_S, Source, Verdict
from cis490_pipeline.store.reasons import Reason
from cis490_pipeline.store.verdicts.eligibility import UNSCORABLE, scorable_expr, usable_expr

CLEAN_ONLY = "(clean only)"


@dataclass(frozen=True, kw_only=True)
class ReasonCount:
    """Number of episodes with a reason, and the first of them."""

    reason: Reason
    n_episodes: int
    first: str
    """``host/id``."""
    detail: str
    """Detail of that finding, without the code."""

    @property
    def consequence(self) -> str:
        """Consequence of the reason for an episode."""
        if self.reason.verdict is Verdict.REJECTED:
            return "dropped"
        if self.reason is Reason.DUPLICATE_CONTENT:
            return "dropped but for the first received"
        return "used to train, never scored" if self.reason in UNSCORABLE else "used, and counted"


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Counts of a store; all mappings are sorted by name."""

    n_episodes: int
    n_usable: int
    n_scorable: int
    hosts: dict[str, int]
    """Number of episodes by host."""
    profiles: dict[str, int]
    """Number of episodes by profile; those without a sample are `CLEAN_ONLY`."""
    samples: dict[str, int]
    profiles_never_run: dict[str, list[str]]
    """By host: profiles that only other hosts have in usable episodes."""
    received: tuple[str, str] | None
    """First and last receipt, ISO 8601."""
    recorded_ns: tuple[int, int] | None
    """First and last start of an episode, Unix ns."""
    recorded_s: float
    """Total duration of all episodes, s."""
    rows: dict[Source, int]
    episodes_without: dict[Source, int]
    """Number of readable episodes without a row of each source."""
    reasons: list[ReasonCount]
    """Most frequent first."""
    errored: list[str]
    """Episodes that could not be checked, as ``host/id: error``."""
    unknown_fields: dict[str, int]
    """Number of episodes with each field that is no channel, by ``source.field``."""


def overview(frame: pl.DataFrame) -> Overview:
    """Summarize a validation index (`VALIDATION_SCHEMA`)."""
    # Unreadable metadata means an unknown profile, not a clean-only run.
    described = frame.filter(pl.col("duration_s").is_not_null())
    profile = pl.col("profile").fill_null(CLEAN_ONLY)
    readable = frame.filter(pl.col("content_digest").is_not_null())
    errored = frame.filter(status=Verdict.ERRORED.value)
    return Overview(
        n_episodes=frame.height,
        n_usable=frame.filter(usable_expr()).height,
        n_scorable=frame.filter(scorable_expr()).height,
        hosts=_counts(frame["host_id"]),
        profiles=_counts(described.select(profile)["profile"]),
        samples=_counts(described["sample_name"].drop_nulls()),
        profiles_never_run=_never_run(frame.filter(usable_expr()).with_columns(profile), frame),
        received=_span(frame["received_at_wall"]),
        recorded_ns=_span(frame["t0_wall_ns"]),
        recorded_s=float(frame["duration_s"].sum()),
        rows={source: int(frame[f"rows_{source}"].sum()) for source in Source},
        episodes_without={
            source: readable.filter(pl.col(f"rows_{source}").fill_null(0) == 0).height
            for source in Source
        },
        reasons=sorted(_reason_counts(frame), key=lambda count: (-count.n_episodes, count.reason)),
        errored=[
            f"{row['host_id']}/{row['episode_id']}: {'; '.join(row['details'])}"
            for row in errored.iter_rows(named=True)
        ],
        unknown_fields=unknown_field_counts(frame),
    )


def unknown_field_counts(frame: pl.DataFrame) -> dict[str, int]:
    """Count the episodes with each field that is no channel, by ``source.field``."""
    return _counts(frame["unknown_fields"].explode().drop_nulls())


def counts_by_host(frame: pl.DataFrame) -> pl.DataFrame:
    """Count episodes by ``host_id``, ``status`` and ``reason`` (null: none), as ``n_episodes``.

    Sorted. An episode counts once for each of its reasons.
    """
    no_reason = pl.lit([None], pl.List(pl.String))
    reasons = pl.when(pl.col("reasons").list.len() > 0).then("reasons").otherwise(no_reason)
    exploded = frame.select("host_id", "status", reason=reasons).explode("reason")
    counted = exploded.group_by("host_id", "status", "reason").agg(n_episodes=pl.len())
    order = {verdict.value: place for place, verdict in enumerate(Verdict)}
    place = pl.col("status").replace_strict(order, return_dtype=pl.Int64)
    return counted.sort("host_id", place, -pl.col("n_episodes").cast(pl.Int64), "reason")


def _counts(values: pl.Series) -> dict[str, int]:
    return dict(sorted(values.value_counts().iter_rows()))


def _span(values: pl.Series) -> tuple[Any, Any] | None:
    known = values.drop_nulls()
    return (known.min(), known.max()) if known.len() else None


def _never_run(usable: pl.DataFrame, frame: pl.DataFrame) -> dict[str, list[str]]:
    every = set(usable["profile"])
    run = {host: set(rows["profile"]) for (host,), rows in usable.group_by("host_id")}
    lacking = {host: sorted(every - run.get(host, set())) for host in sorted(set(frame["host_id"]))}
    return {host: profiles for host, profiles in lacking.items() if profiles}


def _reason_counts(frame: pl.DataFrame) -> Iterator[ReasonCount]:
    for code, n_episodes in _counts(frame["reasons"].explode().drop_nulls()).items():
        having = frame.filter(pl.col("reasons").list.contains(code))
        first = having.row(0, named=True)
        details = (text for text in first["details"] if text.startswith(f"{code}: "))
        yield ReasonCount(
            reason=Reason(code),
            n_episodes=n_episodes,
            first=f"{first['host_id']}/{first['episode_id']}",
            detail=next(details, "").removeprefix(f"{code}: "),
        )


def hours(seconds: float) -> str:
    """Format a duration: ``1.5 h`` or ``40 s``."""
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds:,.0f} s"


def minute(t_ns: int) -> str:
    """Format a Unix time as UTC to the minute: ``2026-11-22 10:00``."""
    return datetime.fromtimestamp(t_ns // NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M")

"""Assignment of episodes to sides, shared by all recipes; stored assignments are kept."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b

import polars as pl

from cis490_pipeline.domain import Side
from cis490_pipeline.errors import SplitError
from cis490_pipeline.splits.split import (
    ASSIGNMENT_SCHEMA,
    CLEAN_ONLY,
    EPISODE_SCHEMA,
    NO_CLEAN_BASELINE,
    UNSCORABLE,
    Split,
)


@dataclass(frozen=True, kw_only=True)
class EpisodeRow:
    """The columns of one usable episode that a recipe reads."""

    episode_id: str
    host_id: str
    profile: str | None
    sample_name: str | None
    received_at_wall: str
    scorable: bool
    baseline_clean: bool

    @property
    def stratum(self) -> str:
        """Stratum that every side should contain: the profile, or ``clean-only``."""
        return self.profile or CLEAN_ONLY

    @property
    def group(self) -> str:
        """Group that must stay on one side: the sample, or the run itself if it has none."""
        return f"sample {self.sample_name}" if self.sample_name else f"run {self.episode_id}"

    @property
    def received(self) -> datetime:
        """Time of the first shipment to the receiver."""
        return instant(self.received_at_wall)


Decision = tuple[Side, str | None]
"""A side, and the reason if it is ``excluded``."""


def episode_rows(episodes: pl.DataFrame) -> list[EpisodeRow]:
    """Convert a frame to episode rows, sorted by id.

    SplitError if a column is missing or an episode occurs twice.
    """
    absent = sorted(set(EPISODE_SCHEMA) - set(episodes.columns))
    if absent:
        raise SplitError(f"a recipe needs the columns {absent}, got {sorted(episodes.columns)}")
    twice = episodes.filter(pl.col("episode_id").is_duplicated()).sort("episode_id", "host_id")
    if twice.height:
        named = ", ".join("/".join(ref) for ref in twice.select("host_id", "episode_id").rows()[:6])
        raise SplitError(
            f"an id may name one episode, but {twice.height} episodes share "
            f"{twice['episode_id'].n_unique()} ids: {named}. Validate the store again "
            "(cis490 validate): of each id it lets one be used and names the others"
        )
    # Sorted by id: the sides must not depend on the order of the input rows.
    ordered = episodes.select(list(EPISODE_SCHEMA)).sort("episode_id")
    return [EpisodeRow(**row) for row in ordered.iter_rows(named=True)]


def placed_at(row: EpisodeRow, side: Side) -> Decision:
    """Assign an episode; one with doubtful labels or clocks may train but is never scored."""
    if row.scorable or side is Side.TRAIN:
        return side, None
    return Side.EXCLUDED, UNSCORABLE


def stored_decisions(rows: Iterable[EpisodeRow], stored: Split | None) -> dict[str, Decision]:
    """Look up stored assignments; a fault found since then excludes, and none changes side."""
    if stored is None:
        return {}
    saved = {
        episode_id: (Side(side), reason)
        for episode_id, _, side, reason in stored.assignment.select(list(ASSIGNMENT_SCHEMA)).rows()
    }
    kept = {row.episode_id: saved[row.episode_id] for row in rows if row.episode_id in saved}
    for row in rows:
        if row.episode_id in kept and kept[row.episode_id][0] is not Side.EXCLUDED:
            kept[row.episode_id] = (
                placed_at(row, kept[row.episode_id][0])
                if row.baseline_clean
                else (Side.EXCLUDED, NO_CLEAN_BASELINE)
            )
    return kept


def assignment_frame(rows: Iterable[EpisodeRow], decided: Mapping[str, Decision]) -> pl.DataFrame:
    """Rows of ``ASSIGNMENT_SCHEMA``; episodes that no rule assigned had no clean baseline."""
    missing: Decision = (Side.EXCLUDED, NO_CLEAN_BASELINE)
    return pl.DataFrame(
        [
            (row.episode_id, row.host_id, str(side), reason)
            for row in rows
            for side, reason in (decided.get(row.episode_id, missing),)
        ],
        schema=ASSIGNMENT_SCHEMA,
        orient="row",
    )


def require_fraction(name: str, value: float) -> None:
    """Raise unless a fraction is strictly between 0 and 1; NaN is refused."""
    if not 0 < value < 1:
        raise SplitError(f"{name} must lie between 0 and 1, got {value}")


def rounded(value: float) -> int:
    """Round half up; ``round`` rounds half to even, so 2.5 and 3.5 would differ by two."""
    return int(value + 0.5)


def rank(seed: int, key: str) -> bytes:
    """Pseudo-random sort key that depends only on the seed and the key.

    Unlike a shuffle, the order is stable when episodes are added.
    """
    return blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()


def instant(received_at_wall: str) -> datetime:
    """Parse an ISO 8601 time, else SplitError; without a zone it is UTC.

    Compared as instants, not as text: ``…:00Z`` sorts after ``…:00.5Z``.
    """
    try:
        time = datetime.fromisoformat(received_at_wall)
    except (ValueError, TypeError) as fault:
        raise SplitError(f"received_at_wall {received_at_wall!r} is not ISO 8601") from fault
    return time if time.tzinfo else time.replace(tzinfo=UTC)

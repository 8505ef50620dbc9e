"""Clock of one source: its newest row, its offset and the rows held because they do not fit."""

from collections import deque
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from cis490_pipeline.domain import Source
from cis490_pipeline.features.resample import STALE_INTERVALS
from cis490_pipeline.live.clocks.timeline import (
    CONFIRM_ROWS,
    GRACE_NS,
    LONGEST_PATIENCE_NS,
    HeldRow,
    Timeline,
    patience_ns,
)
from cis490_pipeline.live.feeds.rows import LiveRow
from cis490_pipeline.store.rows.readings import nominal_ns

MAX_RECENT: Final = 1024
"""Used rows that are remembered, by a hash, to know a row that is delivered again."""


class Health(StrEnum):
    """How a source is."""

    AWAITED = "awaited"
    """No row of it came yet."""
    ALIVE = "alive"
    LATE = "late"
    """Its rows are older than a window waits for."""
    SKEWED = "skewed"
    """Its rows do not fit the time, and are held or set aside."""
    DEAD = "dead"
    """No row for three of its intervals and 2 s more."""


@dataclass
class SourceClock:
    """What is known of one source. Times are on the device's clock, Unix ns, unless said otherwise.

    Attributes
    ----------
    offset_ns : how far the source's clock is ahead of the device's time; taken off its times.
    heard_ns : when a row of it last came, used or not.
    n_late : rows used that came after a window they lie in had closed.
    n_repeated : rows equal to an earlier one in every field; they count once.
    n_set_aside : rows set aside because they fitted no time.
    last_good : number of the arrival of its newest row used.
    timelines : rows that are held, because they do not fit the time.
    """

    source: Source
    offset_ns: int = 0
    heard_ns: int | None = None
    n_used: int = 0
    n_late: int = 0
    n_out_of_order: int = 0
    n_repeated: int = 0
    n_set_aside: int = 0
    last_good: int = 0
    timelines: list[Timeline] = field(default_factory=list)
    _newest_ns: int | None = None
    _recent: deque[int] = field(default_factory=deque)
    _known: set[int] = field(default_factory=set)

    @property
    def came(self) -> bool:
        """Whether any row of it came."""
        return self.heard_ns is not None or self.n_used + self.n_set_aside > 0

    @property
    def n_held(self) -> int:
        """Rows that are held because they do not fit the time."""
        return sum(len(timeline.rows) for timeline in self.timelines)

    @property
    def is_skewed(self) -> bool:
        """Whether its rows are held because they do not fit the time, and it is more than one."""
        return any(len(timeline.rows) >= CONFIRM_ROWS for timeline in self.timelines)

    @property
    def has_time(self) -> bool:
        """Whether a row of it was used since the time began."""
        return self._newest_ns is not None

    @property
    def newest_ns(self) -> int:
        """Time of its newest row used; ask ``has_time`` first."""
        assert self._newest_ns is not None, "no row of the source was used"
        return self._newest_ns

    def is_repeated(self, row: LiveRow) -> bool:
        """Whether a row equals an earlier one in every field: it was delivered twice."""
        return _fingerprint(row) in self._known

    def is_out_of_order(self, row: LiveRow) -> bool:
        """Whether a row is a little older than the newest."""
        behind = 0 if self._newest_ns is None else self._newest_ns - self._corrected(row.t_wall_ns)
        if behind <= 0:
            return False
        # After a step back of a few seconds rows go on from held ones, and overtake the newest.
        stepped = any(t.goes_on and t.follows(row.t_wall_ns) for t in self.timelines)
        return behind <= GRACE_NS and not stepped

    def fits(self, stamped_ns: int, now_ns: int, agree_ns: int) -> bool:
        """Whether a row goes on from the source's newest, and is not ahead of the time.

        Parameters
        ----------
        stamped_ns : time of the row as the source stamped it.
        now_ns : time on the device when it came.
        agree_ns : how far from the time the first row of a source may be.
        """
        t = self._corrected(stamped_ns)
        if self._newest_ns is None:
            caught_up = any(timeline.follows(stamped_ns) for timeline in self.timelines)
            return abs(t - now_ns) <= (GRACE_NS if caught_up else agree_ns)
        since = t - self._newest_ns
        if since < 0:
            return False
        close = since <= STALE_INTERVALS * nominal_ns(self.source)
        reach = LONGEST_PATIENCE_NS if close else patience_ns(self.source)
        return t <= now_ns + reach

    def merged(self, stamped_ns: int) -> list[HeldRow]:
        """Take out the held rows that a row which fits goes on from: they are no strays."""
        if self._newest_ns is not None:
            return []
        for timeline in self.timelines:
            if timeline.follows(stamped_ns):
                self.timelines.remove(timeline)
                return list(timeline.rows)
        return []

    def take(self, held: HeldRow) -> LiveRow | None:
        """Use a row: return it with its time on the device's clock; None if it is out of order."""
        t = self._corrected(held.row.t_wall_ns)
        if self.is_repeated(held.row):
            self.n_repeated += 1
            return None
        if self._newest_ns is not None and t < self._newest_ns:
            self.n_out_of_order += 1
            return None
        self._newest_ns = t
        self.n_used += 1
        self.last_good = held.order
        self._remember(_fingerprint(held.row))
        return held.row if self.offset_ns == 0 else replace(held.row, t_wall_ns=t)

    def forget(self) -> None:
        """Begin a new time: the device's clock jumped."""
        self._newest_ns = self.heard_ns = None
        self._recent.clear()
        self._known.clear()

    def age_ns(self, now_ns: int) -> int | None:
        """Age of its newest row; None before the first."""
        return None if self._newest_ns is None else now_ns - self._newest_ns

    def health(self, now_ns: int) -> Health:
        """Return how it is at a time."""
        if self.heard_ns is None:
            return Health.AWAITED
        patience = patience_ns(self.source)
        if now_ns - self.heard_ns > patience:
            return Health.DEAD
        if self.is_skewed:
            return Health.SKEWED
        if self._newest_ns is None or now_ns - self._newest_ns > patience:
            return Health.LATE
        return Health.ALIVE

    def _corrected(self, stamped_ns: int) -> int:
        return stamped_ns - self.offset_ns

    def _remember(self, fingerprint: int) -> None:
        if fingerprint in self._known:
            return
        self._recent.append(fingerprint)
        self._known.add(fingerprint)
        if len(self._recent) > MAX_RECENT:
            self._known.discard(self._recent.popleft())


def _fingerprint(row: LiveRow) -> int:
    return hash(row.identity or (row.t_wall_ns, row.values))

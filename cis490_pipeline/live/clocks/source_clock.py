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
"""Used rows remembered by hash, to recognise a repeated delivery."""


class Health(StrEnum):
    """State of a source."""

    AWAITED = "awaited"
    """No row has arrived yet."""
    ALIVE = "alive"
    LATE = "late"
    """Its rows are older than a window waits for them."""
    SKEWED = "skewed"
    """Its rows do not fit the device's time; they are held or set aside."""
    DEAD = "dead"
    """No row for three of its intervals plus 2 s."""


@dataclass
class SourceClock:
    """Clock and counters of one source. Times are device times, Unix ns, unless stated otherwise.

    Attributes
    ----------
    offset_ns : how far the source's clock is ahead of the device's time; subtracted from its times.
    last_seen_ns : arrival of its last row, used or not.
    n_late : rows used that came after their window had closed.
    n_repeated : rows equal to an earlier one in every field; used once.
    n_set_aside : rows dropped because they fitted no time.
    last_good : arrival number of its newest used row.
    timelines : held rows, which do not fit the time yet.
    """

    source: Source
    offset_ns: int = 0
    last_seen_ns: int | None = None
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
        """Whether any of its rows arrived."""
        return self.last_seen_ns is not None or self.n_used + self.n_set_aside > 0

    @property
    def n_held(self) -> int:
        """Number of rows held because they do not fit the time."""
        return sum(len(timeline.rows) for timeline in self.timelines)

    @property
    def is_skewed(self) -> bool:
        """Whether three or more of its rows in sequence do not fit the time."""
        return any(len(timeline.rows) >= CONFIRM_ROWS for timeline in self.timelines)

    @property
    def has_time(self) -> bool:
        """Whether one of its rows was used since the time started."""
        return self._newest_ns is not None

    @property
    def newest_ns(self) -> int:
        """Time of its newest used row; only if ``has_time``."""
        assert self._newest_ns is not None, "no row of the source was used"
        return self._newest_ns

    def is_repeated(self, row: LiveRow) -> bool:
        """Whether a row equals an earlier one in every field, that is, was delivered twice."""
        return _fingerprint(row) in self._known

    def is_out_of_order(self, row: LiveRow) -> bool:
        """Whether a row is up to 2 s older than the newest."""
        behind = 0 if self._newest_ns is None else self._newest_ns - self._corrected(row.t_wall_ns)
        if behind <= 0:
            return False
        # After a step back of a few seconds, rows continue from held ones and overtake the newest.
        stepped = any(t.advances and t.follows(row.t_wall_ns) for t in self.timelines)
        return behind <= GRACE_NS and not stepped

    def fits(self, stamped_ns: int, now_ns: int, agree_ns: int) -> bool:
        """Whether a row, at the source's own time, continues from its newest and is not ahead.

        A source's first row may be ``agree_ns`` from the device time of its arrival.
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
        """Remove and return the held rows that a fitting row continues from: they are no strays."""
        if self._newest_ns is not None:
            return []
        for timeline in self.timelines:
            if timeline.follows(stamped_ns):
                self.timelines.remove(timeline)
                return list(timeline.rows)
        return []

    def take(self, held: HeldRow) -> LiveRow | None:
        """Use a row: return it with its device time; None if it is repeated or out of order."""
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
        """Forget times and rows: the device's clock jumped."""
        self._newest_ns = self.last_seen_ns = None
        self._recent.clear()
        self._known.clear()

    def age_ns(self, now_ns: int) -> int | None:
        """Age of its newest row, ns; None before the first."""
        return None if self._newest_ns is None else now_ns - self._newest_ns

    def health(self, now_ns: int) -> Health:
        """Return the state of the source at a device time."""
        if self.last_seen_ns is None:
            return Health.AWAITED
        patience = patience_ns(self.source)
        if now_ns - self.last_seen_ns > patience:
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

"""What time it is on a device that is only heard through its rows, and which of them to believe.

Rules
-----
1. The time is that of the newest row, plus what has passed here since it came. So windows end, and
   sources fall silent, although nobody sends; and the two machines' clocks need not agree.
2. A row older than its source's newest by up to 2 s came out of order: it is counted, not used.
3. A row that is older by more, or more than 60 s ahead of the time, is *astray*: counted, not used.
4. Once every source that is still heard has sent two rows astray since its last good one, the
   device's clock has jumped: all rows are forgotten, and time begins anew at the row that showed
   it. If only one source goes astray, its own clock is wrong, and the others go on.

A step forward of 60 s or less cannot be told from silence, and counts as such.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.features.resample import STALE_INTERVALS, nominal_ns

GRACE_S: Final = 2.0
"""Seconds after a window's end until it closes; later rows are unknown to it, and counted."""
AHEAD_S: Final = 60.0
"""Seconds that a row may be ahead of the time."""
ASTRAY_ROWS: Final = 2

_GRACE_NS: Final = round(GRACE_S * NS_PER_S)
_AHEAD_NS: Final = round(AHEAD_S * NS_PER_S)


class Placed(StrEnum):
    """What becomes of a row."""

    USED = "used"
    OUT_OF_ORDER = "out_of_order"
    ASTRAY = "astray"
    JUMPED = "jumped"
    """Used, and the first of a new time."""


class Health(StrEnum):
    """How a source is."""

    AWAITED = "awaited"
    """Never heard."""
    ALIVE = "alive"
    LATE = "late"
    """Heard, but its rows are older than a window waits for."""
    ASTRAY = "astray"
    """Heard, but its clock is not that of the other sources."""
    DEAD = "dead"
    """Not heard for three of its intervals and 2 s more."""


@dataclass
class Heard:
    """What is known of one source. Times are on the device's clock, Unix ns."""

    newest_ns: int | None = None
    """Of its newest row used."""
    heard_ns: int | None = None
    """The time when a row of it last came, used or not."""
    n_used: int = 0
    n_late: int = 0
    """Rows used that came after a window they lie in had closed."""
    n_out_of_order: int = 0
    n_astray: int = 0
    astray_since_good: int = 0


class DeviceClock:
    """Tells the time, and places each row in it; reads no clock itself.

    Attributes
    ----------
    sources : what is known of each.
    n_jumps : how often the clock jumped.
    """

    def __init__(self) -> None:
        self.sources: Mapping[Source, Heard] = {source: Heard() for source in Source}
        self.n_jumps = 0
        self._newest_ns: int | None = None
        self._came_mono_ns = 0

    @property
    def newest_ns(self) -> int | None:
        """Time of the newest row; None before the first."""
        return self._newest_ns

    def now_ns(self, mono_ns: int) -> int | None:
        """Time on the device, Unix ns; None before the first row.

        Parameters
        ----------
        mono_ns : what a clock of this machine that never goes back says now.
        """
        if self._newest_ns is None:
            return None
        return self._newest_ns + max(0, mono_ns - self._came_mono_ns)

    def place(self, source: Source, t_wall_ns: int, mono_ns: int) -> Placed:
        """Place a row.

        Parameters
        ----------
        source, t_wall_ns : of the row.
        mono_ns : when it came.
        """
        heard, now = self.sources[source], self.now_ns(mono_ns)
        placed = self._judge(heard, t_wall_ns, now)
        if placed is Placed.ASTRAY:
            heard.n_astray += 1
            heard.astray_since_good += 1
            heard.heard_ns = now
            if not self._all_astray(now):
                return placed
            self._begin_anew()
            placed = Placed.JUMPED
        if placed is Placed.OUT_OF_ORDER:
            heard.n_out_of_order += 1
            heard.heard_ns = now
            return placed
        if self._newest_ns is None or t_wall_ns > self._newest_ns:
            self._newest_ns, self._came_mono_ns = t_wall_ns, mono_ns
        heard.newest_ns, heard.astray_since_good = t_wall_ns, 0
        heard.heard_ns = self.now_ns(mono_ns)
        heard.n_used += 1
        return placed

    def health(self, source: Source, mono_ns: int) -> Health:
        """Say how a source is now."""
        heard, now = self.sources[source], self.now_ns(mono_ns)
        if heard.heard_ns is None or now is None:
            return Health.AWAITED
        patience = _patience_ns(source)
        if now - heard.heard_ns > patience:
            return Health.DEAD
        if heard.astray_since_good >= ASTRAY_ROWS:
            return Health.ASTRAY
        if heard.newest_ns is None or now - heard.newest_ns > patience:
            return Health.LATE
        return Health.ALIVE

    def _judge(self, heard: Heard, t_wall_ns: int, now: int | None) -> Placed:
        if now is None:
            return Placed.USED
        if t_wall_ns > now + _AHEAD_NS:
            return Placed.ASTRAY
        behind_ns = 0 if heard.newest_ns is None else heard.newest_ns - t_wall_ns
        if behind_ns > _GRACE_NS:
            return Placed.ASTRAY
        return Placed.OUT_OF_ORDER if behind_ns > 0 else Placed.USED

    def _all_astray(self, now: int | None) -> bool:
        """Whether every source that is still heard has gone astray."""
        assert now is not None, "the first row of all is never astray"
        still_heard = (
            heard
            for source, heard in self.sources.items()
            if heard.heard_ns is not None and now - heard.heard_ns <= _patience_ns(source)
        )
        return all(heard.astray_since_good >= ASTRAY_ROWS for heard in still_heard)

    def _begin_anew(self) -> None:
        self.n_jumps += 1
        self._newest_ns = None
        for heard in self.sources.values():
            heard.newest_ns = heard.heard_ns = None
            heard.astray_since_good = 0


def _patience_ns(source: Source) -> int:
    """How old a source's last sign may be until it is missed, ns."""
    return round(STALE_INTERVALS * nominal_ns(source)) + _GRACE_NS

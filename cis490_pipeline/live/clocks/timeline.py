"""Timeline: consecutive rows of one source that do not fit the device time, held for a decision.

A row that does not fit the device time is either a stray or the first after a clock was set. The
rows after it decide: three that continue from it are no stray.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.features.resample import STALE_INTERVALS
from cis490_pipeline.live.feeds.rows import LiveRow
from cis490_pipeline.store.rows.readings import MERGE_INTERVALS, nominal_ns

GRACE_S: Final = 2.0
"""Seconds after a window's end until it closes; later rows are not in it, and counted as late."""
CONFIRM_ROWS: Final = 3
"""Consecutive rows that prove a clock change instead of strays."""
LEAST_PACE: Final = 0.01
"""Least mean advance per row, as a share of the source's nominal interval."""
MAX_HELD: Final = 1024
"""Held rows of one timeline, at most; beyond it the oldest are set aside."""
MAX_TIMELINES: Final = 8
"""Timelines of one source, at most; beyond it the shortest is set aside."""

GRACE_NS: Final = round(GRACE_S * NS_PER_S)


def patience_ns(source: Source) -> int:
    """Age of a source's last row at which it counts as silent: three intervals plus 2 s, in ns."""
    return round(STALE_INTERVALS * nominal_ns(source)) + GRACE_NS


LONGEST_PATIENCE_NS: Final = max(map(patience_ns, Source))
"""Time after which every live source has sent a row, ns."""


@dataclass(frozen=True, slots=True)
class HeldRow:
    """Row that arrived and is not used yet.

    Attributes
    ----------
    mono_ns : arrival on a monotonic clock of this machine.
    now_ns : device time of its arrival; None before the time started.
    order : arrival number among the rows of all sources.
    """

    row: LiveRow
    mono_ns: int
    now_ns: int | None
    order: int


@dataclass
class Timeline:
    """Held rows of one source, ascending in time.

    Attributes
    ----------
    began : first row, kept even when that row is set aside.
    ahead_ns : most that its newest row was ahead of the device time at the arrival of another
        source's row; None before one arrived.
    """

    source: Source
    began: HeldRow
    rows: deque[HeldRow] = field(default_factory=deque)
    ahead_ns: int | None = None

    @classmethod
    def of(cls, first: HeldRow) -> "Timeline":
        """Start a timeline with one row."""
        return cls(first.row.source, first, deque([first]))

    @property
    def newest_ns(self) -> int:
        """Time of its newest row, as the source stamped it."""
        return self.rows[-1].row.t_wall_ns

    @property
    def span_ns(self) -> int:
        """Time from its oldest held row to its newest."""
        return self.newest_ns - self.rows[0].row.t_wall_ns

    @property
    def confirmed(self) -> bool:
        """Whether it has enough rows and its times advance."""
        return len(self.rows) >= CONFIRM_ROWS and self.advances

    @property
    def advances(self) -> bool:
        """Whether its times advance at its source's rate."""
        intervals = max(MERGE_INTERVALS, LEAST_PACE * (len(self.rows) - 1))
        return self.span_ns >= intervals * nominal_ns(self.source)

    def follows(self, t_wall_ns: int) -> bool:
        """Whether a row at that time continues from its newest."""
        return 0 <= t_wall_ns - self.newest_ns <= LONGEST_PATIENCE_NS

    def waited(self, mono_ns: int) -> bool:
        """Whether it is old enough for every other live source to have sent a row since."""
        by_rows = self.newest_ns - self.began.row.t_wall_ns >= LONGEST_PATIENCE_NS
        return by_rows or mono_ns - self.began.mono_ns >= LONGEST_PATIENCE_NS

    def sample(self, now_ns: int) -> None:
        """Record how far it is ahead at the arrival of another source's row."""
        ahead = self.newest_ns - now_ns
        self.ahead_ns = ahead if self.ahead_ns is None else max(self.ahead_ns, ahead)

    def offset_ns(self) -> int | None:
        """Offset of the source's clock from the device time, ns; None while it is not steady.

        Notes
        -----
        When the source's own row arrives, the device time may be one row behind, so the difference
        is too large; when another source's row arrives it is too small. The offset lies between
        the least of the first and the most of the second. It is rounded to 0.1 s, one grid step:
        it is not known more precisely.
        """
        ahead = [held.row.t_wall_ns - held.now_ns for held in self.rows if held.now_ns is not None]
        if not ahead or max(ahead) - min(ahead) > GRACE_NS:
            return None
        least, most = min(ahead), self.ahead_ns
        middle = least if most is None or abs(most - least) > GRACE_NS else (least + most) // 2
        step = NS_PER_S // 10
        return round(middle / step) * step


def hold(timelines: list[Timeline], held: HeldRow) -> Timeline:
    """Append a row to the timeline it continues, or start one; return that timeline."""
    t = held.row.t_wall_ns
    following = [timeline for timeline in timelines if timeline.follows(t)]
    if following:
        nearest = min(following, key=lambda timeline: t - timeline.newest_ns)
        nearest.rows.append(held)
        return nearest
    timelines.append(Timeline.of(held))
    return timelines[-1]


def in_order_of_arrival(timelines: Sequence[Timeline]) -> list[HeldRow]:
    """Return the rows of all given timelines in order of arrival."""
    return sorted((h for t in timelines for h in t.rows), key=lambda held: held.order)

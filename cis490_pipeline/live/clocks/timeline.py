"""Rows of one source whose times go on from each other, held until it is clear what they mean.

A row that does not fit the device's time is a stray, or the first after a step of a clock. What
follows it decides: three rows that go on from it are no stray.
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
"""Seconds after a window's end until it closes; later rows are unknown to it, and counted."""
CONFIRM_ROWS: Final = 3
"""Rows that go on from each other until they are no strays."""
LEAST_PACE: Final = 0.01
"""Of a source's nominal interval, how much a row must go on from the one before on average."""
MAX_HELD: Final = 1024
"""Rows of one timeline that are held at most; of more the oldest are set aside."""
MAX_TIMELINES: Final = 8
"""Timelines of one source at a time; of more the shortest is given up."""

GRACE_NS: Final = round(GRACE_S * NS_PER_S)


def patience_ns(source: Source) -> int:
    """Age of a source's last row at which it is missed: three of its intervals and 2 s, ns."""
    return round(STALE_INTERVALS * nominal_ns(source)) + GRACE_NS


LONGEST_PATIENCE_NS: Final = max(map(patience_ns, Source))
"""After so much time every source that is alive has sent a row."""


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A row that arrived and is not used yet.

    Attributes
    ----------
    mono_ns : when it arrived, on a clock of this machine that never goes back.
    now_ns : time on the device when it arrived; None before there is one.
    order : number of its arrival among the rows of all sources.
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
    began : its first row, which stays known when the row is set aside.
    ahead_ns : the most that its newest row was ahead of the device's time when another source's
        row arrived; None before one did.
    """

    source: Source
    began: HeldRow
    rows: deque[HeldRow] = field(default_factory=deque)
    ahead_ns: int | None = None

    @classmethod
    def of(cls, first: HeldRow) -> "Timeline":
        """Begin with a row."""
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
        """Whether it has enough rows, and its time goes on at all."""
        return len(self.rows) >= CONFIRM_ROWS and self.goes_on

    @property
    def goes_on(self) -> bool:
        """Whether its time goes on as its source's rows do."""
        intervals = max(MERGE_INTERVALS, LEAST_PACE * (len(self.rows) - 1))
        return self.span_ns >= intervals * nominal_ns(self.source)

    def follows(self, t_wall_ns: int) -> bool:
        """Whether a row at that time goes on from its newest."""
        return 0 <= t_wall_ns - self.newest_ns <= LONGEST_PATIENCE_NS

    def waited(self, mono_ns: int) -> bool:
        """Whether every other source would have sent a row since it began."""
        by_rows = self.newest_ns - self.began.row.t_wall_ns >= LONGEST_PATIENCE_NS
        return by_rows or mono_ns - self.began.mono_ns >= LONGEST_PATIENCE_NS

    def sample(self, now_ns: int) -> None:
        """Note how far it is ahead, at the arrival of another source's row."""
        ahead = self.newest_ns - now_ns
        self.ahead_ns = ahead if self.ahead_ns is None else max(self.ahead_ns, ahead)

    def offset_ns(self) -> int | None:
        """Offset of the source's clock from the device's time; None while it is not steady.

        Notes
        -----
        At an arrival the source's row is as new as can be and the device's time may be a row
        behind, so that the difference is too large; at the arrivals of others it is too small.
        The offset lies between the least of the one and the most of the other. It is rounded to
        0.1 s, a step of the grid: it is not known better.
        """
        ahead = [held.row.t_wall_ns - held.now_ns for held in self.rows if held.now_ns is not None]
        if not ahead or max(ahead) - min(ahead) > GRACE_NS:
            return None
        least, most = min(ahead), self.ahead_ns
        middle = least if most is None or abs(most - least) > GRACE_NS else (least + most) // 2
        step = NS_PER_S // 10
        return round(middle / step) * step


def hold(timelines: list[Timeline], held: HeldRow) -> Timeline:
    """Add a row to the timeline it follows, or begin one; return that timeline."""
    t = held.row.t_wall_ns
    following = [timeline for timeline in timelines if timeline.follows(t)]
    if following:
        found = min(following, key=lambda timeline: t - timeline.newest_ns)
        found.rows.append(held)
        return found
    timelines.append(Timeline.of(held))
    return timelines[-1]


def in_order_of_arrival(timelines: Sequence[Timeline]) -> list[HeldRow]:
    """Return all rows of some timelines as they arrived."""
    return sorted((h for t in timelines for h in t.rows), key=lambda held: held.order)

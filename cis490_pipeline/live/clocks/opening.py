"""Start of the device time: the first rows, held until it is clear which of them give it."""

from collections.abc import Callable
from typing import Final

from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.live.clocks.timeline import (
    GRACE_NS,
    LONGEST_PATIENCE_NS,
    MAX_TIMELINES,
    HeldRow,
    Timeline,
    hold,
)
from cis490_pipeline.live.feeds.rows import LiveRow

AGREE_NS: Final = NS_PER_S
"""Two sources agree if a row of one is within this of the other's newest time, ns."""
MAX_ROWS: Final = 4096
"""Held rows, at most; beyond it the oldest half is set aside."""
_MANY_ROWS: Final = 10
"""Rows of a source after which its times should have started to advance."""


class Opening:
    """Rows (``log``) from before the device time started, and the choice of the row that starts it.

    Rules
    -----
    1. Two sources whose rows have the same time, to a second, give the time once it advances.
    2. If none agree after 5 s (of the rows' own time, or of this machine's), one source with three
       consecutive rows gives it: the one that agrees with this machine's clock, else the earliest,
       since rows may be late and never early.
    """

    def __init__(self, wall_ns: Callable[[], int] | None) -> None:
        """Start empty; ``wall_ns`` is this machine's clock, None for recordings."""
        self.log: list[HeldRow] = []
        self._wall_ns = wall_ns
        self._timelines: dict[Source, list[Timeline]] = {source: [] for source in Source}
        self._newest: dict[Source, LiveRow] = {}
        self._n_rows = dict.fromkeys(Source, 0)

    def add(self, row: LiveRow, mono_ns: int, order: int) -> LiveRow | None:
        """Hold a row; return the first row of the device's time once two sources agree on it."""
        held = HeldRow(row, mono_ns, None, order)
        self.log.append(held)
        self._newest[row.source] = row
        self._n_rows[row.source] += 1
        timelines = self._timelines[row.source]
        mine = hold(timelines, held)
        if len(timelines) > MAX_TIMELINES:
            timelines.remove(min(timelines, key=lambda timeline: len(timeline.rows)))
        agreeing = [
            other
            for source, others in self._timelines.items()
            for other in others
            if source is not row.source and abs(other.newest_ns - row.t_wall_ns) <= AGREE_NS
        ]
        # Times in a wrong unit agree too, but do not advance.
        if not any(timeline.advances for timeline in (mine, *agreeing) if agreeing):
            return None
        firsts = [timeline.rows[0].row for timeline in (mine, *agreeing)]
        return min(firsts, key=lambda first: first.t_wall_ns)

    def resolve(self, mono_ns: int, *, ended: bool = False) -> LiveRow | None:
        """Return the first row of the device's time once a single source has to be trusted.

        ``ended`` says that no more rows will come.
        """
        confirmed = [
            timeline
            for timelines in self._timelines.values()
            for timeline in timelines
            if timeline.confirmed
        ]
        if not confirmed:
            return None
        if not ended and not any(timeline.waited(mono_ns) for timeline in confirmed):
            return None
        return min(confirmed, key=self._rank).rows[0].row

    def overflow(self) -> list[HeldRow]:
        """Remove and return the oldest half if too many rows are held."""
        if len(self.log) <= MAX_ROWS:
            return []
        half = len(self.log) // 2
        given_up, self.log = self.log[:half], self.log[half:]
        orders = {held.order for held in given_up}
        for timelines in self._timelines.values():
            for timeline in timelines:
                while timeline.rows and timeline.rows[0].order in orders:
                    timeline.rows.popleft()
            timelines[:] = [timeline for timeline in timelines if timeline.rows]
        return given_up

    def stuck(self, source: Source) -> LiveRow | None:
        """Return a source's newest row if its times do not advance although many rows came."""
        row = self._newest.get(source)
        if row is None or self._n_rows[source] < _MANY_ROWS:
            return None
        confirmed = any(timeline.confirmed for timeline in self._timelines[source])
        return None if confirmed else row

    def _rank(self, timeline: Timeline) -> tuple[bool, int]:
        agrees = self._wall_ns is not None and (
            abs(timeline.newest_ns - self._wall_ns()) <= GRACE_NS + LONGEST_PATIENCE_NS
        )
        return not agrees, timeline.rows[0].row.t_wall_ns

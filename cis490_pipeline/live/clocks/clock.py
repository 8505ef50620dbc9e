"""Device clock: the time on a device, inferred from row timestamps, and the rows that fit it.

Rules
-----
1. Time starts where two sources agree on it, or after 5 s where one source is steady (``opening``).
   A single row starts nothing.
2. The time is the newest that at least two live sources have reached (or the only one), plus what
   has passed on this machine since. Windows therefore close and sources go silent although no row
   arrives, and the two machines' clocks need not agree.
3. A row up to 2 s older than its source's newest is out of order, and one that was delivered before
   is repeated: both are counted, not used.
4. A row that is older by more, or ahead of the time by more than its source's patience (three of
   its intervals and 2 s), is held. If its source continues as before, the row was a stray: it is
   set aside, counted and reported. If three rows over a second continue from it, a clock was set:

   - every live source moved with it, or no other source is alive: the device's clock jumped, and
     all earlier rows are dropped; if it is up to 60 s ahead, it was a silence;
   - the other sources continue as before: this source's clock is off. Once the offset has been
     steady for 5 s it is reported and subtracted from the source's times.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.live.clocks.opening import AGREE_NS, Opening
from cis490_pipeline.live.clocks.source_clock import Health, SourceClock
from cis490_pipeline.live.clocks.time_texts import (
    clock_jumped,
    clock_off,
    is_reported,
    no_time,
    row_set_aside,
)
from cis490_pipeline.live.clocks.timeline import (
    GRACE_NS,
    LONGEST_PATIENCE_NS,
    MAX_HELD,
    MAX_TIMELINES,
    HeldRow,
    Timeline,
    hold,
    in_order_of_arrival,
    patience_ns,
)
from cis490_pipeline.live.feeds.rows import LiveRow
from cis490_pipeline.store.rows.readings import nominal_ns

AHEAD_S: Final = 60.0
"""Most seconds by which all sources may be ahead after a silence; beyond it is a jump."""
LATEST_NS: Final = 1 << 62
"""Year 2116: no clock reading is later."""

_AHEAD_NS: Final = round(AHEAD_S * NS_PER_S)
_JOIN_NS: Final = 3 * NS_PER_S
_STEADY_NS: Final = NS_PER_S
_MAX_UNCONFIRMED: Final = 50


@dataclass(frozen=True)
class RowVerdict:
    """Rows to use after one row arrived, with device times, ascending for each source.

    They are that row, earlier held ones, or none. If the device's clock ``jumped``, all rows before
    these are invalid.
    """

    rows: tuple[LiveRow, ...] = ()
    jumped: bool = False


_NOTHING: Final = RowVerdict()


class DeviceClock:
    """Device time, the clock of each source, and the verdict on each row; reads no clock itself."""

    def __init__(
        self,
        note: Callable[[str], None] = lambda text: None,
        wall_ns: Callable[[], int] | None = None,
    ) -> None:
        """Create a clock without a time; ``note`` receives messages about clocks and rows.

        ``wall_ns`` is this machine's own clock, Unix ns, for rows that arrive as they are recorded;
        it decides which of two disagreeing sources is right. None for recordings.
        """
        self.sources: Mapping[Source, SourceClock] = {s: SourceClock(s) for s in Source}
        self.n_jumps = 0
        self._note, self._wall_ns = note, wall_ns
        self._opening: Opening | None = Opening(wall_ns)
        self._agreed_ns: int | None = None
        self._came_mono_ns = 0
        self._n_arrived = 0
        self._n_aside = 0
        self._warned = False

    @property
    def newest_ns(self) -> int | None:
        """Time of the newest row; None before the first."""
        return max((s.newest_ns for s in self._known()), default=None)

    def now_ns(self, mono_ns: int) -> int | None:
        """Time on the device, Unix ns; None before it started.

        ``mono_ns`` is the current reading of a monotonic clock of this machine, here and below.
        """
        if self._agreed_ns is None:
            return None
        return self._agreed_ns + max(0, mono_ns - self._came_mono_ns)

    def place(self, row: LiveRow, mono_ns: int) -> RowVerdict:
        """Decide whether a row, at the time its source stamped, is used, held or dropped."""
        self._n_arrived += 1
        if not 0 <= row.t_wall_ns <= LATEST_NS:
            self._set_aside(row, self.now_ns(mono_ns))
            return _NOTHING
        if self._opening is None:
            now = self.now_ns(mono_ns)
            assert now is not None, "the time has started"
            return self._follow(HeldRow(row, mono_ns, now, self._n_arrived), now)
        first = self._opening.add(row, mono_ns, self._n_arrived)
        for held in self._opening.overflow():
            self._set_aside(held.row, None)
        return self._begin(first) if first is not None else self.tick(mono_ns)

    def tick(self, mono_ns: int) -> RowVerdict:
        """Decide what elapsed time alone decides: which source to trust where none agree."""
        if self._opening is None:
            return _NOTHING
        first = self._opening.resolve(mono_ns)
        if first is not None:
            return self._begin(first)
        if not self._warned:
            self._warn(self._opening)
        return _NOTHING

    def finish(self, mono_ns: int) -> RowVerdict:
        """Decide on all held rows: no more will come."""
        placed: list[RowVerdict] = []
        if self._opening is not None:
            first = self._opening.resolve(mono_ns, ended=True)
            if first is None:
                for held in self._opening.log:
                    self._set_aside(held.row, None)
                return _NOTHING
            placed.append(self._begin(first))
        for state in self.sources.values():
            placed += [
                self._decide(state, timeline, mono_ns, ended=True)
                for timeline in list(state.timelines)
                # One that moved together with another is decided already.
                if timeline in state.timelines
            ]
            self._give_up(state, self.now_ns(mono_ns))
        return _together(placed)

    def health(self, source: Source, mono_ns: int) -> Health:
        """Return the current state of a source."""
        now = self.now_ns(mono_ns)
        if now is None:
            stuck = self._opening is not None and self._opening.stuck(source) is not None
            return Health.SKEWED if stuck else Health.AWAITED
        return self.sources[source].health(now)

    def _warn(self, opening: Opening) -> None:
        """Report, once, the first source whose rows give no time."""
        for source in Source:
            row = opening.stuck(source)
            if row is not None:
                self._warned = True
                self._note(no_time(row))
                return

    def _known(self) -> Iterable[SourceClock]:
        return (state for state in self.sources.values() if state.has_time)

    def _begin(self, first: LiveRow) -> RowVerdict:
        """Start the time at a row, and decide on all held rows."""
        assert self._opening is not None
        log, self._opening = self._opening.log, None
        begins = next(held for held in log if held.row is first)
        placed = [self._accept([begins])]
        for held in log:
            now = self.now_ns(held.mono_ns)
            assert now is not None, "the time has started"
            if held.order > begins.order:
                placed.append(self._follow(replace(held, now_ns=now), now))
            elif held.row.source is not first.source:
                # It came before the time started, so it carries no offset.
                placed.append(self._follow(held, now))
            elif held is not begins:
                self._set_aside(held.row, now)
        return _together(placed)

    def _follow(self, held: HeldRow, now_ns: int) -> RowVerdict:
        state = self.sources[held.row.source]
        state.last_seen_ns = now_ns
        if state.is_repeated(held.row):
            state.n_repeated += 1
            return _NOTHING
        if state.is_out_of_order(held.row):
            state.n_out_of_order += 1
            return _NOTHING
        if state.fits(held.row.t_wall_ns, now_ns, AGREE_NS):
            return self._accept([*state.merged(held.row.t_wall_ns), held])
        timeline = hold(state.timelines, held)
        return self._decide(state, timeline, held.mono_ns)

    def _accept(self, rows: Sequence[HeldRow], *, jumped: bool = False) -> RowVerdict:
        """Use rows, in order of arrival."""
        used = []
        for held in rows:
            state = self.sources[held.row.source]
            taken = state.take(held)
            if taken is None:
                continue
            used.append(taken)
            self._agree(held.mono_ns)
        now = self.now_ns(rows[-1].mono_ns) if rows else None
        for source in {held.row.source for held in rows}:
            state = self.sources[source]
            state.last_seen_ns = now
            # Its source continues: held rows were strays.
            self._give_up(state, now)
        for state in self.sources.values():
            for timeline in state.timelines if now is not None else ():
                timeline.sample(now or 0)
        return RowVerdict(tuple(used), jumped)

    def _agree(self, mono_ns: int) -> None:
        """Advance the time to what two sources have reached."""
        lead = self.newest_ns
        assert lead is not None, "a row was just used"
        reached = sorted(
            min(lead, state.newest_ns + nominal_ns(state.source))
            for state in self._known()
            # A source whose rows are held makes no progress; the time does not wait for it.
            if state.newest_ns >= lead - patience_ns(state.source) and not state.is_skewed
        )
        agreed = reached[-2] if len(reached) > 1 else min([*reached, lead])
        if self._agreed_ns is None or agreed > self._agreed_ns:
            self._agreed_ns, self._came_mono_ns = agreed, mono_ns

    def _decide(
        self, state: SourceClock, timeline: Timeline, mono_ns: int, *, ended: bool = False
    ) -> RowVerdict:
        """Use held rows once it is clear which clock moved."""
        if not timeline.confirmed:
            self._bound(state, timeline, _MAX_UNCONFIRMED)
            return _NOTHING
        others = self._others(state, timeline, self.now_ns(mono_ns))
        joined = [t for other in others if (t := self._joined(timeline, other)) is not None]
        if len(joined) == len(others):
            if joined or ended or timeline.span_ns >= _STEADY_NS:
                return self._move([timeline, *joined])
        elif ended or timeline.waited(mono_ns):
            began = timeline.began.order
            if any(other.last_good > began for other in others):
                return self._correct(state, timeline, others)
            # A source that has just started may send old rows, so it moves no time.
            if state.has_time:
                return self._move([timeline, *joined])
        self._bound(state, timeline, MAX_HELD)
        return _NOTHING

    def _others(
        self, state: SourceClock, timeline: Timeline, now_ns: int | None
    ) -> list[SourceClock]:
        """List the other sources that were alive when a timeline began.

        For a source that has just started: those alive now.
        """
        began = timeline.began.now_ns
        asked = began if state.has_time and began is not None else now_ns
        return [
            other
            for other in self._known()
            if other is not state
            and asked is not None
            and other.last_seen_ns is not None
            and asked - other.last_seen_ns <= patience_ns(other.source)
        ]

    def _joined(self, timeline: Timeline, other: SourceClock) -> Timeline | None:
        """Return the timeline of another source that moved by the same amount, if any."""
        newest = timeline.newest_ns - self.sources[timeline.source].offset_ns
        for candidate in other.timelines:
            if abs(candidate.newest_ns - other.offset_ns - newest) <= _JOIN_NS:
                return candidate
        return None

    def _move(self, timelines: Sequence[Timeline]) -> RowVerdict:
        """Continue from these timelines: the device's clock jumped, or there was a silence."""
        rows = in_order_of_arrival(timelines)
        states = [self.sources[timeline.source] for timeline in timelines]
        first = min(
            timeline.rows[0].row.t_wall_ns - state.offset_ns
            for timeline, state in zip(timelines, states, strict=True)
        )
        for timeline, state in zip(timelines, states, strict=True):
            state.timelines.remove(timeline)
        newest = self.newest_ns
        assert newest is not None, "the time has started"
        if 0 <= first - newest <= _AHEAD_NS:
            return self._accept(rows)
        now = timelines[0].began.now_ns or newest
        self.n_jumps += 1
        self._note(clock_jumped(now, first))
        for state in self.sources.values():
            self._give_up(state, now)
            state.forget()
        self._agreed_ns = None
        return self._accept(rows, jumped=True)

    def _correct(
        self, state: SourceClock, timeline: Timeline, others: Sequence[SourceClock]
    ) -> RowVerdict:
        """Subtract a steady offset from the times of a source whose own clock is off."""
        offset = timeline.offset_ns()
        if offset is None:
            # Rows that catch up or come in bursts have no steady offset.
            while timeline.span_ns > LONGEST_PATIENCE_NS:
                self._set_aside(timeline.rows[0].row, timeline.rows[0].now_ns)
                timeline.rows.popleft()
            self._bound(state, timeline, MAX_HELD)
            return _NOTHING
        offset = offset if abs(offset) > GRACE_NS else 0
        if offset != state.offset_ns:
            names = [other.source for other in others]
            ahead = timeline.newest_ns - offset
            wall = None if self._wall_ns is None else self._wall_ns()
            self._note(clock_off(state.source, offset, names, ahead, wall))
        state.offset_ns = offset
        state.timelines.remove(timeline)
        return self._accept(list(timeline.rows))

    def _bound(self, state: SourceClock, timeline: Timeline, most: int) -> None:
        while len(timeline.rows) > most:
            held = timeline.rows.popleft()
            self._set_aside(held.row, held.now_ns)
        while len(state.timelines) > MAX_TIMELINES:
            shortest = min(state.timelines, key=lambda other: len(other.rows))
            state.timelines.remove(shortest)
            for held in shortest.rows:
                self._set_aside(held.row, held.now_ns)

    def _give_up(self, state: SourceClock, now_ns: int | None) -> None:
        """Set aside all held rows of a source."""
        for timeline in state.timelines:
            for held in timeline.rows:
                self._set_aside(held.row, held.now_ns if held.now_ns is not None else now_ns)
        state.timelines.clear()

    def _set_aside(self, row: LiveRow, now_ns: int | None) -> None:
        self.sources[row.source].n_set_aside += 1
        self._n_aside += 1
        if is_reported(self._n_aside):
            self._note(row_set_aside(row, now_ns, self._n_aside))


def _together(placed: Sequence[RowVerdict]) -> RowVerdict:
    """Concatenate verdicts; only what follows the last jump counts."""
    rows: list[LiveRow] = []
    jumped = False
    for verdict in placed:
        if verdict.jumped:
            rows, jumped = [], True
        rows += verdict.rows
    return RowVerdict(tuple(rows), jumped)

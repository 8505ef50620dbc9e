"""What time it is on a device that is only known by its rows, and which rows fit it.

Rules
-----
1. The time begins where two sources agree on it, or after 5 s where one source is steady
   (``opening``). The first row alone starts nothing.
2. It goes on with the rows: it is the newest time that at least two sources that are alive have
   reached (or the only one has), plus what has passed here since. So windows end, and sources fall
   silent, although no row arrives; and the two machines' clocks need not agree.
3. A row older than its source's newest by up to 2 s, or one that was delivered before, is out of
   order: it is counted, not used.
4. A row that is older by more, or ahead of the time by more than its source's patience (three of
   its intervals and 2 s), is held. If its source goes on as before, it was a stray: it is set
   aside, counted and named. If three rows and a second go on from it, a clock was set:

   - every source that is alive moved with it, or no other source is alive: the device's clock
     jumped, and all earlier rows are forgotten; or, up to 60 s ahead, there was silence;
   - the others go on as before: the source's own clock is off. Once the offset was steady for 5 s
     it is named, and taken off the source's times.
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
    no_time,
    row_set_aside,
    worth_naming,
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
"""Seconds by which all sources may be ahead after a silence; more is a jump."""
LATEST_NS: Final = 1 << 62
"""The year 2116: a time beyond it is no reading of a clock."""

_AHEAD_NS: Final = round(AHEAD_S * NS_PER_S)
_JOIN_NS: Final = 3 * NS_PER_S
_STEADY_NS: Final = NS_PER_S
_MAX_UNCONFIRMED: Final = 50


@dataclass(frozen=True)
class RowVerdict:
    """What becomes of a row, and of those that were held before it.

    Attributes
    ----------
    rows : to be used now, their times on the device's clock; ascending for each source.
    jumped : whether the device's clock jumped: all rows before these are of another time.
    """

    rows: tuple[LiveRow, ...] = ()
    jumped: bool = False


_NOTHING: Final = RowVerdict()


class DeviceClock:
    """Tells the time, and places each row in it; reads no clock itself.

    Attributes
    ----------
    sources : what is known of each.
    n_jumps : how often the clock jumped.
    """

    def __init__(
        self,
        note: Callable[[str], None] = lambda text: None,
        wall_ns: Callable[[], int] | None = None,
    ) -> None:
        """Begin to wait for rows.

        Parameters
        ----------
        note : takes what happened, in words.
        wall_ns : this machine's own clock, Unix ns, where rows arrive as they are made; it decides
            which of two sources that disagree is right. None for recordings.
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
        """Time on the device, Unix ns; None before it began.

        Parameters
        ----------
        mono_ns : what a clock of this machine that never goes back says now.
        """
        if self._agreed_ns is None:
            return None
        return self._agreed_ns + max(0, mono_ns - self._came_mono_ns)

    def place(self, row: LiveRow, mono_ns: int) -> RowVerdict:
        """Place a row.

        Parameters
        ----------
        row : its time as the source stamped it.
        mono_ns : when it came.
        """
        self._n_arrived += 1
        if not 0 <= row.t_wall_ns <= LATEST_NS:
            self._set_aside(row, self.now_ns(mono_ns))
            return _NOTHING
        if self._opening is None:
            now = self.now_ns(mono_ns)
            assert now is not None, "the time has begun"
            return self._follow(HeldRow(row, mono_ns, now, self._n_arrived), now)
        first = self._opening.add(row, mono_ns, self._n_arrived)
        for held in self._opening.overflow():
            self._set_aside(held.row, None)
        return self._begin(first) if first is not None else self.tick(mono_ns)

    def tick(self, mono_ns: int) -> RowVerdict:
        """Decide what time alone decides: which source to trust where none agree."""
        if self._opening is None:
            return _NOTHING
        first = self._opening.resolve(mono_ns)
        if first is not None:
            return self._begin(first)
        if not self._warned:
            self._warn(self._opening)
        return _NOTHING

    def finish(self, mono_ns: int) -> RowVerdict:
        """Decide about all that is held: no row will come any more."""
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
                # One that moved together with another is decided about already.
                if timeline in state.timelines
            ]
            self._give_up(state, self.now_ns(mono_ns))
        return _together(placed)

    def health(self, source: Source, mono_ns: int) -> Health:
        """Return how a source is now."""
        now = self.now_ns(mono_ns)
        if now is None:
            stuck = self._opening is not None and self._opening.stuck(source) is not None
            return Health.SKEWED if stuck else Health.AWAITED
        return self.sources[source].health(now)

    def _warn(self, opening: Opening) -> None:
        """Name the first source whose rows tell no time, once."""
        for source in Source:
            row = opening.stuck(source)
            if row is not None:
                self._warned = True
                self._note(no_time(row))
                return

    def _known(self) -> Iterable[SourceClock]:
        return (state for state in self.sources.values() if state.has_time)

    def _begin(self, first: LiveRow) -> RowVerdict:
        """Begin the time at a row, and place all rows that were held."""
        assert self._opening is not None
        log, self._opening = self._opening.log, None
        begins = next(held for held in log if held.row is first)
        placed = [self._accept([begins])]
        for held in log:
            now = self.now_ns(held.mono_ns)
            assert now is not None, "the time has begun"
            if held.order > begins.order:
                placed.append(self._follow(replace(held, now_ns=now), now))
            elif held.row.source is not first.source:
                # It came before the time began, and tells nothing of an offset.
                placed.append(self._follow(held, now))
            elif held is not begins:
                self._set_aside(held.row, now)
        return _together(placed)

    def _follow(self, held: HeldRow, now_ns: int) -> RowVerdict:
        state = self.sources[held.row.source]
        state.heard_ns = now_ns
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
        """Use rows, in the order of their arrival."""
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
            state.heard_ns = now
            # Its source goes on: what did not fit was a stray.
            self._give_up(state, now)
        for state in self.sources.values():
            for timeline in state.timelines if now is not None else ():
                timeline.sample(now or 0)
        return RowVerdict(tuple(used), jumped)

    def _agree(self, mono_ns: int) -> None:
        """Let the time go on to what two sources have reached."""
        lead = self.newest_ns
        assert lead is not None, "a row was just used"
        reached = sorted(
            min(lead, state.newest_ns + nominal_ns(state.source))
            for state in self._known()
            # One that sends rows which are held does not go on: time does not wait for it.
            if state.newest_ns >= lead - patience_ns(state.source) and not state.is_skewed
        )
        agreed = reached[-2] if len(reached) > 1 else min([*reached, lead])
        if self._agreed_ns is None or agreed > self._agreed_ns:
            self._agreed_ns, self._came_mono_ns = agreed, mono_ns

    def _decide(
        self, state: SourceClock, timeline: Timeline, mono_ns: int, *, ended: bool = False
    ) -> RowVerdict:
        """Use held rows once it is clear which clock was set."""
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
            # A source that only begins may send what waited for long: it moves no time.
            if state.has_time:
                return self._move([timeline, *joined])
        self._bound(state, timeline, MAX_HELD)
        return _NOTHING

    def _others(
        self, state: SourceClock, timeline: Timeline, now_ns: int | None
    ) -> list[SourceClock]:
        """List the other sources that were alive when a timeline began.

        Of a source that only begins: those that are alive still.
        """
        began = timeline.began.now_ns
        asked = began if state.has_time and began is not None else now_ns
        return [
            other
            for other in self._known()
            if other is not state
            and asked is not None
            and other.heard_ns is not None
            and asked - other.heard_ns <= patience_ns(other.source)
        ]

    def _joined(self, timeline: Timeline, other: SourceClock) -> Timeline | None:
        """Return the timeline of another source that moved with this one."""
        newest = timeline.newest_ns - self.sources[timeline.source].offset_ns
        for candidate in other.timelines:
            if abs(candidate.newest_ns - other.offset_ns - newest) <= _JOIN_NS:
                return candidate
        return None

    def _move(self, timelines: Sequence[Timeline]) -> RowVerdict:
        """Go on with the time of these: the device's clock jumped, or there was silence."""
        rows = in_order_of_arrival(timelines)
        states = [self.sources[timeline.source] for timeline in timelines]
        first = min(
            timeline.rows[0].row.t_wall_ns - state.offset_ns
            for timeline, state in zip(timelines, states, strict=True)
        )
        for timeline, state in zip(timelines, states, strict=True):
            state.timelines.remove(timeline)
        newest = self.newest_ns
        assert newest is not None, "the time has begun"
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
        """Take a steady offset off the times of a source whose clock alone is off."""
        offset = timeline.offset_ns()
        if offset is None:
            # Rows that catch up, or come in lumps: only what is steady is an offset.
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
        """Set all held rows of a source aside."""
        for timeline in state.timelines:
            for held in timeline.rows:
                self._set_aside(held.row, held.now_ns if held.now_ns is not None else now_ns)
        state.timelines.clear()

    def _set_aside(self, row: LiveRow, now_ns: int | None) -> None:
        self.sources[row.source].n_set_aside += 1
        self._n_aside += 1
        if worth_naming(self._n_aside):
            self._note(row_set_aside(row, now_ns, self._n_aside))


def _together(placed: Sequence[RowVerdict]) -> RowVerdict:
    """Join placements that come one after the other; only what follows the last jump counts."""
    rows: list[LiveRow] = []
    jumped = False
    for verdict in placed:
        if verdict.jumped:
            rows, jumped = [], True
        rows += verdict.rows
    return RowVerdict(tuple(rows), jumped)

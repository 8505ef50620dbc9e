"""Live loop: rows from a feed through the engine to the sinks, until the feed ends."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cis490_pipeline.live.engine import LiveEngine
from cis490_pipeline.live.feeds.agent_status import AgentStatus
from cis490_pipeline.live.feeds.feed import Feed
from cis490_pipeline.live.feeds.rows import LiveRow
from cis490_pipeline.live.outputs.reports import Faults, LiveState, WindowReport, seconds_between
from cis490_pipeline.live.outputs.sinks import Sink
from cis490_pipeline.store.rows.row import RowFault

WAIT_S: Final = 0.2
STATE_EVERY_NS: Final = 1_000_000_000
FAULTS_EACH: Final = 20
FAULTS_EVERY: Final = 1000
NAMED_AGAIN_NS: Final = 60_000_000_000
"""The first 20 faulty lines are reported, then one in a thousand, and any after a minute without
one: a flood stays readable, and a device that is refused an hour after it is still named."""
MAX_TURN_NS: Final = 2_000_000_000
"""Most device time that one turn of the loop can add: a longer turn means that the process was
suspended while rows waited."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """End of a run: the last state, and the lines left out."""

    state: LiveState
    faults: Faults


def run_live(
    feed: Feed,
    engine: LiveEngine,
    sinks: Sequence[Sink],
    notify: Callable[[str], None],
    *,
    stop: Callable[[], bool] = lambda: False,
    clock_ns: Callable[[], int] = time.monotonic_ns,
) -> Ended:
    """Run until the feed ends or ``stop`` says so; feed and sinks are closed in any case.

    ``notify`` gets texts on lines that are not rows, and on outputs in trouble.
    """
    loop = _Loop(engine, sinks, notify, clock_ns)
    try:
        while not feed.ended and not stop():
            loop.turn(feed)
        if feed.ended:
            loop.report(engine.finish())
        ended = loop.end()
    finally:
        feed.close()
        for sink in sinks:
            sink.close()
    # Lines that are still unwritten are lost.
    lost = tuple(report for sink in sinks if (report := sink.report()) is not None)
    return replace(ended, state=replace(ended.state, sinks=lost))


class _Loop:
    def __init__(
        self,
        engine: LiveEngine,
        sinks: Sequence[Sink],
        notify: Callable[[str], None],
        clock_ns: Callable[[], int],
    ) -> None:
        self._engine, self._sinks, self._notify = engine, sinks, notify
        self._clock_ns = clock_ns
        self._faults = Faults()
        self._gist: tuple[object, ...] | None = None
        self._reported_ns: int | None = None
        self._sinks_were: dict[str, str | None] = {}
        self._turned_ns = self._named_ns = clock_ns()
        self._device_ns = 0
        self._agent: AgentStatus | None = None
        self._agent_at_ns = 0

    def turn(self, feed: Feed) -> None:
        """Process what arrived, and close the windows that are due."""
        arrivals = feed.poll(WAIT_S)
        self._advance_time(feed.pace)
        for arrival in arrivals:
            if isinstance(arrival, LiveRow):
                self.report(self._engine.feed(arrival, self._device_ns))
            elif isinstance(arrival, AgentStatus):
                self._agent, self._agent_at_ns = arrival, self._device_ns
            else:
                self._leave_out(arrival)
        self.report(self._engine.advance(self._device_ns))
        self._report_state()

    def _leave_out(self, fault: RowFault) -> None:
        self._faults.add(fault)
        n, is_rare = self._faults.n, self._turned_ns - self._named_ns >= NAMED_AGAIN_NS
        if n <= FAULTS_EACH or n % FAULTS_EVERY == 0 or is_rare:
            self._named_ns = self._turned_ns
            self._notify(f"line left out ({n} so far): {self._faults.last[-1]}")

    def _advance_time(self, pace: float) -> None:
        """Add the device time that passed since the last turn: none in a recording."""
        now = self._clock_ns()
        self._device_ns += round(min(now - self._turned_ns, MAX_TURN_NS) * pace)
        self._turned_ns = now

    def report(self, reports: Sequence[WindowReport]) -> None:
        """Pass windows to the sinks, after the notes that preceded them."""
        while self._engine.notes:
            text = self._engine.notes.popleft()
            for sink in self._sinks:
                sink.note(text)
        for report in reports:
            for sink in self._sinks:
                sink.window(report)

    def end(self) -> Ended:
        """Report the last state, regardless of the interval between states."""
        self._reported_ns = None
        self._report_state()
        return Ended(state=self._state(), faults=self._faults)

    def _state(self) -> LiveState:
        reports = tuple(r for sink in self._sinks if (r := sink.report()) is not None)
        age_s = seconds_between(self._agent_at_ns, self._device_ns)
        return replace(
            self._engine.state(self._device_ns),
            sinks=reports,
            agent=self._agent,
            agent_age_s=None if self._agent is None else age_s,
        )

    def _report_state(self) -> None:
        now = self._clock_ns()
        if self._reported_ns is not None and now - self._reported_ns < STATE_EVERY_NS:
            return
        self._reported_ns = now
        state = self._state()
        for report in state.sinks:
            if report.trouble != self._sinks_were.get(report.name):
                self._sinks_were[report.name] = report.trouble
                self._notify(str(report))
        gist = (*state.gist(), self._faults.n > 0)
        for sink in self._sinks:
            sink.state(state, self._faults, changed=gist != self._gist)
        self._gist = gist

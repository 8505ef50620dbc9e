"""Event hub: from published events to state, frames every 50 ms and open streams."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypedDict

import msgspec

from cis490_pipeline.dashboard.server.browser import Browser
from cis490_pipeline.dashboard.server.frames import Frame, Ring, batch, message, pieces
from cis490_pipeline.dashboard.state.current import Feed, Outcome, State
from cis490_pipeline.dashboard.state.journal import Journal
from cis490_pipeline.dashboard.state.retention import Key
from cis490_pipeline.events.contract import Event

TICK_S: Final = 0.05
STATUS_S: Final = 1.0
"""Interval of status messages while events arrive, s."""
HEARTBEAT_S: Final = 15.0
MAX_FRAME_EVENTS: Final = 2_048
MAX_FRAME_BYTES: Final = 256 << 10


def unix_ms() -> int:
    """Return the Unix time, ms."""
    return time.time_ns() // 1_000_000


class HubStatus(TypedDict):
    """Counts of what has arrived so far, for people."""

    now_ms: int
    browsers: int
    events: int
    fault: str | None
    feeds: dict[str, Feed]


@dataclass(frozen=True, slots=True)
class Delivery:
    """Counts of published events by outcome."""

    delivered: int
    """Events passed on to browsers, now or when they connect."""
    duplicates: int = 0
    left_out: int = 0


class Hub:
    """Events of one dashboard; used within one event loop."""

    def __init__(self, state: State, journal: Journal | None = None) -> None:
        self.epoch = secrets.token_hex(6)
        """Random per start: event ids of another epoch cannot be resumed."""
        self.state = state
        self.n_events = 0
        self.n_stalled = 0
        """Streams aborted because a write took too long."""
        self.n_overflows = 0
        self.journal_fault: str | None = None
        """Fault of the state on disk, if any."""
        self._journal = journal
        self._ring = Ring()
        self._seq = 0
        self._pending: dict[Key, bytes] = {}
        self._pending_bytes = 0
        self._browsers: set[Browser] = set()
        self._changed = True

    @property
    def n_browsers(self) -> int:
        """Number of open streams."""
        return len(self._browsers)

    def publish(self, events: list[Event], now: Callable[[], int] = unix_ms) -> Delivery:
        """Write events to the journal, apply them, and add them to the next frame.

        Raises `StateNotKeptError` if they cannot be written; then none of them is applied.
        """
        lines = [self.state.encode(event) for event in events]
        self._note(events, lines)
        now_ms = now()
        taken = duplicates = 0
        for event, line in zip(events, lines, strict=True):
            outcome, key, encoded = self.state.apply(event, now_ms, line)
            if outcome is Outcome.DUPLICATE:
                duplicates += 1
            elif outcome is Outcome.TAKEN:
                taken += 1
                self._pending_bytes += len(encoded) - len(self._pending.pop(key, b""))
                self._pending[key] = encoded
                if len(self._pending) >= MAX_FRAME_EVENTS or self._pending_bytes > MAX_FRAME_BYTES:
                    self.flush()
        self.n_events += len(events)
        self._changed = True
        return Delivery(
            delivered=taken, duplicates=duplicates, left_out=len(events) - taken - duplicates
        )

    def flush(self) -> None:
        """Send pending events to every browser as one frame."""
        if not self._pending:
            return
        events, self._pending, self._pending_bytes = self._pending, {}, 0
        self._seq += 1
        id_ = f"{self.epoch}.{self._seq}"
        frame = Frame(self._seq, events, batch(events.values(), id_=id_))
        self._ring.append(frame)
        for browser in self._browsers:
            browser.offer(frame)

    def _note(self, events: list[Event], lines: list[bytes]) -> None:
        if self._journal is None:
            return
        # Written before any is applied, so that a restart shows all that was acknowledged.
        news = zip(self.state.news(events), lines, strict=True)
        new = (line for is_new, line in news if is_new)
        try:
            self._journal.append(new)
        finally:
            self._see_fault(self._journal)

    def _see_fault(self, journal: Journal) -> None:
        if journal.fault != self.journal_fault:
            self.journal_fault = journal.fault
            self._changed = True

    async def keep(self, stop: asyncio.Event) -> None:
        """Maintain the journal until stopped."""
        if self._journal is not None:
            await self._journal.maintain(stop)

    async def run(self) -> None:
        """Send frames and status until cancelled."""
        reported = beaten = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            self.flush()
            if self._journal is not None:
                self._see_fault(self._journal)
            now = time.monotonic()
            if now - beaten >= HEARTBEAT_S or (self._changed and now - reported >= STATUS_S):
                reported = beaten = now
                self._changed = False
                status = message(msgspec.json.encode(self.status()), event="status")
                for browser in self._browsers:
                    browser.offer_status(status)

    def close(self) -> None:
        """Send pending events, and end every stream."""
        self.flush()
        for browser in self._browsers:
            browser.close()

    @contextmanager
    def attached(self) -> Iterator[Browser]:
        """Register a stream that gets frames while the block runs."""
        browser = Browser(self.epoch)
        self._browsers.add(browser)
        self._changed = True
        try:
            yield browser
        finally:
            self._browsers.discard(browser)
            self._changed = True
            self.n_overflows += browser.n_overflows

    async def messages(self, browser: Browser, last_event_id: str | None) -> AsyncIterator[bytes]:
        """Yield the messages of a stream until it is closed.

        ``last_event_id`` is the last that a reconnecting browser has seen.
        """
        for chunk in self._beginning(last_event_id):
            yield chunk
        ended = False
        while not ended:
            await browser.wait()
            ended = browser.closed
            if browser.needs_snapshot:
                browser.needs_snapshot = False
                for chunk in self._snapshot():
                    yield chunk
            for chunk in browser.take():
                yield chunk

    def status(self) -> HubStatus:
        """Return counters and faults for display."""
        return {
            "now_ms": unix_ms(),
            "browsers": self.n_browsers,
            "events": self.n_events,
            "fault": self.journal_fault,
            "feeds": self.state.feeds,
        }

    def _beginning(self, last_event_id: str | None) -> Iterator[bytes]:
        yield b"retry: 1000\n\n"
        frames = self._missed(last_event_id)
        if frames is None:
            yield from self._snapshot()
        else:
            for frame in frames:
                yield frame.message
        yield message(msgspec.json.encode(self.status()), event="status")

    def _missed(self, last_event_id: str | None) -> list[Frame] | None:
        epoch, _, seq = (last_event_id or "").partition(".")
        # Bound the digits: huge numbers are slow to parse.
        if epoch != self.epoch or not (seq.isascii() and seq.isdecimal()) or len(seq) > 16:
            return None
        return self._ring.since(int(seq), self._seq)

    def _snapshot(self) -> Iterator[bytes]:
        events = self.state.snapshot()
        seq = self._seq
        # An id that cannot be resumed: a snapshot that breaks off is sent again from its start.
        about = msgspec.json.encode({"epoch": self.epoch, "events": len(events)})
        yield message(about, event="reset", id_=f"{self.epoch}.part")
        yield from pieces(events)
        yield message(about, event="ready", id_=f"{self.epoch}.{seq}")

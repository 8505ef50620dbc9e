"""Background delivery of events: a dashboard that is down or slow never blocks the caller."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from cis490_pipeline.errors import EventError, EventRefusedError
from cis490_pipeline.events.contract import Event
from cis490_pipeline.events.identity import Stamp
from cis490_pipeline.events.publisher import Publisher

MAX_WAITING: Final = 5000
"""Queued events, at most; beyond it the oldest are dropped and counted."""
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
"""Pauses between attempts double from FIRST_PAUSE_S up to this."""
_FOR_GOOD: Final = frozenset({400, 404, 405, 413, 415, 422})
"""HTTP statuses that a retry cannot change: the events themselves are refused."""


class Outbox:
    """Queue of events that a background thread delivers, retrying until the dashboard accepts them.

    Events put into a *slot* replace those still waiting in it: of what is published repeatedly only
    the latest matters, and it is never dropped. Events without a slot wait in a bounded queue.

    Each event gets a publisher and a revision when it is put, so that a request that arrives twice
    or out of order changes nothing.

    Events that the dashboard refuses as invalid are dropped and reported, since they would block
    all later ones. Other refusals (missing token, too many requests) are retried.

    Attributes
    ----------
    n_dropped : events dropped because the queue was full, or refused as invalid.
    n_taken : events that the dashboard accepted.
    """

    def __init__(
        self,
        publisher: Publisher,
        notify: Callable[[str], None],
        *,
        first_pause_s: float = FIRST_PAUSE_S,
        longest_pause_s: float = LONGEST_PAUSE_S,
    ) -> None:
        """Start the delivery thread; ``notify`` is called when delivery fails, and recovers."""
        self.n_dropped = 0
        self.n_taken = 0
        self._publisher, self._notify = publisher, notify
        self._stamp = Stamp()
        self._first_pause_s, self._longest_pause_s = first_pause_s, longest_pause_s
        self._queue: deque[Event] = deque()
        self._slots: dict[str, list[Event]] = {}
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._busy = False
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def put(self, events: list[Event], *, slot: str | None = None) -> None:
        """Enqueue events in order, without waiting; they replace those waiting in the same slot."""
        with self._changed:
            stamped = self._stamp.stamped(events)
            if slot is not None:
                self._slots[slot] = stamped
            else:
                self._queue.extend(stamped)
                self._drop_oldest()
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything is delivered; False on timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout_s)

    def close(self, timeout_s: float = 2.0) -> int:
        """Deliver what can be delivered within the timeout, stop, and return the number left."""
        self.flush(timeout_s)
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(timeout_s)
        with self._changed:
            return self._waiting

    @property
    def _waiting(self) -> int:
        return len(self._queue) + sum(map(len, self._slots.values()))

    def _run(self) -> None:
        while not self._closing.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
                slots, self._slots = self._slots, {}
                queued = list(self._queue)
                self._queue.clear()
                self._busy = True
            if not self._delivered(slots, queued):
                pause_s = self._first_pause_s * 2 ** min(self._failures - 1, 16)
                self._closing.wait(min(pause_s, self._longest_pause_s))

    def _delivered(self, slots: dict[str, list[Event]], queued: list[Event]) -> bool:
        events = [*(event for of_slot in slots.values() for event in of_slot), *queued]
        try:
            if events:
                self._publisher.publish(events)
        except EventRefusedError as refusal:
            if refusal.status not in _FOR_GOOD:
                return self._failed(slots, queued, refusal)
            self.n_dropped += len(events)
            self._notify(f"{refusal}; {len(events)} events dropped")
            events = []
        except EventError as fault:
            return self._failed(slots, queued, fault)
        if self._failures:
            url = self._publisher.url
            self._notify(f"{url} answers again; {self.n_dropped} events were dropped")
        self._failures = 0
        with self._changed:
            self.n_taken += len(events)
            self._busy = False
            self._changed.notify_all()
        return True

    def _failed(
        self, slots: dict[str, list[Event]], queued: list[Event], fault: EventError
    ) -> bool:
        with self._changed:
            self._slots = slots | self._slots
            self._queue.extendleft(reversed(queued))
            self._drop_oldest()
            self._busy = False
            self._changed.notify_all()
        self._failures += 1
        if self._failures == 1:
            self._notify(f"{fault}; retrying, the newest events are kept")
        return False

    def _drop_oldest(self) -> None:
        while len(self._queue) > MAX_WAITING:
            self._queue.popleft()
            self.n_dropped += 1

"""Events delivered in the background: a dashboard that is down or slow holds nobody up."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from cis490_pipeline.errors import EventError, EventRefusedError
from cis490_pipeline.events.contract import Event
from cis490_pipeline.events.identity import Stamp
from cis490_pipeline.events.publisher import Publisher

MAX_WAITING: Final = 5000
"""Single events that wait at most; of more the oldest are dropped, and counted."""
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
"""Pauses between attempts double from the one to the other."""
_FOR_GOOD: Final = frozenset({400, 404, 405, 413, 415, 422})
"""Answers to events that would be refused again, however often they are sent."""


class Outbox:
    """Holds events until the dashboard took them.

    Events in a *slot* replace those that still wait in it: of what is published again and again
    only the latest matters, and it is never lost. Events without a slot wait in a queue of bounded
    length.

    Each event is stamped with a publisher and a revision as it is handed over: a request that
    arrives again, or after a later one, then changes nothing.

    What a dashboard refuses as wrong is dropped and told of: it would stand in the way of all that
    follows. A refusal for other reasons (a missing token, too many requests) is tried again.

    Attributes
    ----------
    n_dropped : events dropped because too many waited, or because they were refused as wrong.
    n_taken : events that the dashboard took.
    """

    def __init__(
        self,
        publisher: Publisher,
        tell: Callable[[str], None],
        *,
        first_pause_s: float = FIRST_PAUSE_S,
        longest_pause_s: float = LONGEST_PAUSE_S,
    ) -> None:
        """Start the thread that delivers.

        Parameters
        ----------
        publisher : of one dashboard.
        tell : told, in words, when it fails for the first time and when it works again.
        first_pause_s, longest_pause_s : s.
        """
        self.n_dropped = 0
        self.n_taken = 0
        self._publisher, self._tell = publisher, tell
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
        """Hand over events; returns at once.

        Parameters
        ----------
        events : to be delivered in order.
        slot : what they replace, if that still waits; None replaces nothing.
        """
        with self._changed:
            stamped = self._stamp.stamped(events)
            if slot is not None:
                self._slots[slot] = stamped
            else:
                self._queue.extend(stamped)
                while len(self._queue) > MAX_WAITING:
                    self._queue.popleft()
                    self.n_dropped += 1
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything was taken; False if it was not within the time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout_s)

    def close(self, timeout_s: float = 2.0) -> int:
        """Deliver what can be delivered in this time, and stop.

        Returns
        -------
        How many events were not taken.
        """
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
            self._tell(f"{refusal}; {len(events)} events dropped")
            events = []
        except EventError as fault:
            return self._failed(slots, queued, fault)
        if self._failures:
            self._tell(f"{self._publisher.url} answers again; {self.n_dropped} events were dropped")
        self._failures = 0
        with self._changed:
            self.n_taken += len(events)
            self._busy = False
            self._changed.notify_all()
        return True

    def _failed(
        self, slots: dict[str, list[Event]], queued: list[Event], fault: EventError
    ) -> bool:
        self._put_back(slots, queued)
        self._failures += 1
        if self._failures == 1:
            self._tell(f"{fault}; trying again, what is newest is kept")
        return False

    def _put_back(self, slots: dict[str, list[Event]], queued: list[Event]) -> None:
        with self._changed:
            self._slots = slots | self._slots
            self._queue.extendleft(reversed(queued))
            while len(self._queue) > MAX_WAITING:
                self._queue.popleft()
                self.n_dropped += 1
            self._busy = False
            self._changed.notify_all()

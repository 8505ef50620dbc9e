"""What a late browser has to be told: the newest event of each key, in bounded memory."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Final

import msgspec

from cis490_pipeline.dashboard.rules import RULES, TYPE_OF, Rule
from cis490_pipeline.events.contract import Event

MAX_KNOWN_IDS: Final = 20_000

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Key = tuple[str, Hashable]
"""An event's type and what tells it apart within the type."""


class Outcome(Enum):
    """What became of an event."""

    TAKEN = "taken"
    DUPLICATE = "duplicate"
    LEFT_OUT = "left out"


@dataclass(slots=True)
class Feed:
    """What arrived of one type."""

    received: Count = 0
    last_ms: Count | None = None
    """Unix time of the last arrival, duplicates included."""
    left_out: Count = 0
    """Events that found no room."""


@dataclass
class _Shelf:
    rule: Rule
    events: OrderedDict[Hashable, bytes] = field(default_factory=OrderedDict)
    n_bytes: int = 0

    def put(self, key: Hashable, encoded: bytes) -> bool:
        """Keep an event; ``False`` if there is no room for it."""
        rule, events = self.rule, self.events
        old = events.get(key)
        n_bytes = self.n_bytes + len(encoded) - (len(old) if old is not None else 0)
        over = n_bytes > rule.limit_bytes or (old is None and len(events) >= rule.limit)
        if over and not rule.rolling:
            return False
        if old is not None:
            del events[key]
        events[key] = encoded
        self.n_bytes = n_bytes
        # The newest alone is always kept: it is smaller than a published body may be.
        while len(events) > 1 and (len(events) > rule.limit or self.n_bytes > rule.limit_bytes):
            _, gone = events.popitem(last=False)
            self.n_bytes -= len(gone)
        return True

    def drop(self, key: Hashable) -> None:
        """Forget an event if it is here."""
        gone = self.events.pop(key, None)
        if gone is not None:
            self.n_bytes -= len(gone)


class State:
    """The newest event of each key, by type."""

    def __init__(self) -> None:
        self.feeds: dict[str, Feed] = {name: Feed() for name in RULES}
        self._shelves = {name: _Shelf(rule) for name, rule in RULES.items()}
        self._known_ids: OrderedDict[str, None] = OrderedDict()
        self._encoder = msgspec.json.Encoder()

    def knows(self, event: Event) -> bool:
        """Whether an event came before, by its id."""
        return event.event_id is not None and event.event_id in self._known_ids

    def encode(self, event: Event) -> bytes:
        """Return an event's JSON."""
        return self._encoder.encode(event)

    def apply(
        self, event: Event, now_ms: int, encoded: bytes | None = None
    ) -> tuple[Outcome, Key, bytes]:
        """Take one event.

        Parameters
        ----------
        event : of the contract.
        now_ms : Unix time of its arrival, ms.
        encoded : its JSON, if that is made already.

        Returns
        -------
        What became of it, its key, and its JSON (empty unless it was taken).
        """
        name = TYPE_OF[type(event)]
        feed = self.feeds[name]
        feed.received += 1
        feed.last_ms = now_ms
        shelf = self._shelves[name]
        key = shelf.rule.key(event)
        if event.event_id is not None and self.knows(event):
            self._known_ids.move_to_end(event.event_id)
            return Outcome.DUPLICATE, (name, key), b""
        if encoded is None:
            encoded = self.encode(event)
        if not shelf.put(key, encoded):
            feed.left_out += 1
            return Outcome.LEFT_OUT, (name, key), b""
        if shelf.rule.replaces is not None:
            self._shelves[shelf.rule.replaces].drop(key)
        if event.event_id is not None:
            self._known_ids[event.event_id] = None
            if len(self._known_ids) > MAX_KNOWN_IDS:
                self._known_ids.popitem(last=False)
        return Outcome.TAKEN, (name, key), encoded

    def snapshot(self) -> list[bytes]:
        """Return every kept event as JSON: what is true first, ticks second, oldest first."""
        return [encoded for shelf in self._shelves.values() for encoded in shelf.events.values()]

    def kept(self) -> Iterator[tuple[str, int, int]]:
        """Yield each type with how many events and bytes of it are kept."""
        for name, shelf in self._shelves.items():
            yield name, len(shelf.events), shelf.n_bytes

    def n_bytes(self) -> int:
        """How many bytes of JSON are kept."""
        return sum(shelf.n_bytes for shelf in self._shelves.values())

"""Current state: the newest event of each key, in bounded memory, for browsers that connect."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated

import msgspec

from cis490_pipeline.dashboard.state.kept import Kept
from cis490_pipeline.dashboard.state.retention import RULES, TYPE_OF, Key, Rule
from cis490_pipeline.events.contract import Event

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Outcome(Enum):
    """Result of applying an event."""

    TAKEN = "taken"
    DUPLICATE = "duplicate"
    """It repeats the current state, or is an earlier one that arrived late."""
    LEFT_OUT = "left out"


@dataclass(slots=True)
class Feed:
    """Counters of one event type."""

    received: Count = 0
    last_ms: Count | None = None
    """Unix time of the last arrival, duplicates included."""
    left_out: Count = 0
    """Events dropped because the limit was reached."""


@dataclass
class _Shelf:
    rule: Rule
    events: OrderedDict[Hashable, Kept] = field(default_factory=OrderedDict)
    n_bytes: int = 0

    def put(self, key: Hashable, kept: Kept) -> bool:
        """Store an event; ``False`` if there is no room."""
        rule, events = self.rule, self.events
        old = events.get(key)
        n_bytes = self.n_bytes + len(kept.encoded) - (0 if old is None else len(old.encoded))
        over = n_bytes > rule.limit_bytes or (old is None and len(events) >= rule.limit)
        if over and not rule.rolling:
            return False
        if old is not None:
            del events[key]
        events[key] = kept
        self.n_bytes = n_bytes
        # The newest is always kept: a published body bounds its size.
        while len(events) > 1 and (len(events) > rule.limit or self.n_bytes > rule.limit_bytes):
            _, gone = events.popitem(last=False)
            self.n_bytes -= len(gone.encoded)
        return True

    def drop(self, key: Hashable) -> None:
        """Remove an event, if present."""
        gone = self.events.pop(key, None)
        if gone is not None:
            self.n_bytes -= len(gone.encoded)


class State:
    """Newest event of each key, by type."""

    def __init__(self) -> None:
        self.feeds: dict[str, Feed] = {name: Feed() for name in RULES}
        self._shelves = {name: _Shelf(rule) for name, rule in RULES.items()}
        self._encoder = msgspec.json.Encoder()

    def news(self, events: Iterable[Event]) -> Iterator[bool]:
        """Yield for each event whether it may change the state when all are applied in order.

        The others can be skipped: they repeat the current state, and no event before them changes
        it.
        """
        changed: set[Key] = set()
        all_may = False
        for event in events:
            shelf, key, rival = self._place(event)
            current = self._current(shelf, key, rival)
            known = current is not None and current.covers(event)
            if known and key not in changed and not all_may:
                yield False
                continue
            changed.add(key)
            if rival is not None:
                changed.add(rival)
            all_may = all_may or shelf.rule.withdraws is not None
            yield True

    def encode(self, event: Event) -> bytes:
        """Encode an event as JSON."""
        return self._encoder.encode(event)

    def apply(
        self, event: Event, now_ms: int, encoded: bytes | None = None
    ) -> tuple[Outcome, Key, bytes]:
        """Apply one event; return the outcome, its key, and its JSON (empty unless taken).

        ``now_ms`` is the Unix time of its arrival, ms; ``encoded`` its JSON, if already encoded.
        """
        name = TYPE_OF[type(event)]
        feed = self.feeds[name]
        feed.received += 1
        feed.last_ms = now_ms
        shelf, key, rival = self._place(event)
        current = self._current(shelf, key, rival)
        if current is not None and current.covers(event):
            current.note(event)
            return Outcome.DUPLICATE, key, b""
        if encoded is None:
            encoded = self.encode(event)
        if not shelf.put(key[1], Kept(event, encoded, current)):
            feed.left_out += 1
            return Outcome.LEFT_OUT, key, b""
        if rival is not None:
            self._shelves[rival[0]].drop(rival[1])
        if shelf.rule.withdraws is not None:
            self._withdraw(event, shelf.rule.withdraws)
        return Outcome.TAKEN, key, encoded

    def snapshot(self) -> list[bytes]:
        """Return all kept events as JSON: states first, then ticks, oldest first."""
        return [kept.encoded for kept in self._all()]

    def lines(self) -> list[bytes]:
        """Return events that restore this state, including revisions, if applied in order.

        These are the events of ``snapshot``, preceded by further ones for keys with several
        publishers.
        """
        return [line for kept in self._all() for line in kept.lines(self._encoder)]

    def kept(self) -> Iterator[tuple[str, int, int]]:
        """Yield each type with its number of kept events and bytes."""
        for name, shelf in self._shelves.items():
            yield name, len(shelf.events), shelf.n_bytes

    def n_bytes(self) -> int:
        """Bytes of JSON kept."""
        return sum(shelf.n_bytes for shelf in self._shelves.values())

    def _place(self, event: Event) -> tuple[_Shelf, Key, Key | None]:
        """Return the shelf of an event, its key, and the key of the state it excludes."""
        name = TYPE_OF[type(event)]
        rule = RULES[name]
        rival = None if rule.replaces is None else rule.replaces(event)
        return self._shelves[name], (name, rule.key(event)), rival

    def _current(self, shelf: _Shelf, key: Key, rival: Key | None) -> Kept | None:
        current = shelf.events.get(key[1])
        if current is None and rival is not None:
            return self._shelves[rival[0]].events.get(rival[1])
        return current

    def _withdraw(self, event: Event, ended: Callable[[Event, Key], bool]) -> None:
        for name, shelf in self._shelves.items():
            for key in [key for key in shelf.events if ended(event, (name, key))]:
                shelf.drop(key)

    def _all(self) -> Iterator[Kept]:
        for shelf in self._shelves.values():
            yield from shelf.events.values()

"""Stored event of one key, and the revisions that identify repetitions."""

from collections.abc import Iterator
from typing import Final

import msgspec

from cis490_pipeline.events.contract import Event, decode

MAX_PUBLISHERS: Final = 4
"""Publishers per key whose revisions are remembered."""

_Seen = dict[str | None, int]
"""Highest revision by publisher, the latest to arrive last."""


class Kept:
    """Current state of one key, with the event's JSON."""

    __slots__ = ("_event_id", "_publisher", "_revision", "_seen", "encoded")

    def __init__(self, event: Event, encoded: bytes, before: "Kept | None" = None) -> None:
        """Store an event, which replaces the state ``before`` of the same key."""
        self.encoded = encoded
        self._event_id = event.event_id
        self._publisher, self._revision = event.publisher, event.revision
        # None while the event itself holds all revisions, which saves memory for thousands of
        # ticks.
        self._seen: _Seen | None = None
        if before is not None:
            seen = before._revisions()
            if seen.keys() - {self._publisher} or self._revision is None:
                self._seen = dict(seen)
                self._note(event)

    def covers(self, event: Event) -> bool:
        """Whether an event of the same key repeats this one or was overtaken."""
        if event.revision is not None:
            highest = self._revisions().get(event.publisher)
            if highest is not None and event.revision <= highest:
                return True
        return event.event_id is not None and event.event_id == self._event_id

    def note(self, event: Event) -> None:
        """Record the revision of a repetition."""
        seen = self._revisions()
        if event.revision is not None and event.revision > seen.get(event.publisher, -1):
            self._seen = seen
            self._note(event)

    def lines(self, encoder: msgspec.json.Encoder) -> Iterator[bytes]:
        """Yield events that restore this one and the revisions seen, if applied in order.

        One event for each further publisher, with its name and revision, precedes the current
        event, which replaces them.
        """
        if self._seen is None:
            yield self.encoded
            return
        (event,) = decode(self.encoded)
        seen = dict(self._seen)
        if self._revision is not None:
            event = msgspec.structs.replace(event, revision=seen.pop(self._publisher))
        for publisher, revision in seen.items():
            yield encoder.encode(
                msgspec.structs.replace(
                    event, event_id=None, publisher=publisher, revision=revision
                )
            )
        yield encoder.encode(event)

    def _revisions(self) -> _Seen:
        if self._seen is not None:
            return self._seen
        return {} if self._revision is None else {self._publisher: self._revision}

    def _note(self, event: Event) -> None:
        seen = self._seen
        if seen is None or event.revision is None:
            return
        seen.pop(event.publisher, None)
        seen[event.publisher] = event.revision
        while len(seen) > MAX_PUBLISHERS:
            # Never the current event's own publisher.
            del seen[next(name for name in seen if name != self._publisher)]

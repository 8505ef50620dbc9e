"""Identity and order of events: which state an event describes, and which of two is newer.

A dashboard keeps one event per key: the current state. Two optional fields decide whether an
arriving event changes that state:

- ``event_id`` names the state itself. Two publishers of the same state give the same identity, so
  a repetition by another publisher is recognised. It holds only while this state is current: if a
  model is damaged and repaired, its earlier state returns under its earlier identity and is shown.
- ``publisher`` and ``revision`` order the events of one publisher. An event whose revision is not
  above the highest that arrived from its publisher for the same key is a redelivery or was
  overtaken, and changes nothing. Revisions of different publishers are not compared: clocks and
  counters of two machines have no common order, so the last to arrive is shown.
"""

import hashlib
import itertools
import secrets
from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec

from cis490_pipeline.events.values import Count, Identity, Name

_DIGITS: Final = 12
"""Digits of each digest in an identity."""


class Published(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Optional fields of every event: its identity and its place in a publisher's order."""

    event_id: Identity | None = None
    """Identity of the described state. While that state is current for its key, an event with the
    same identity is a duplicate; after another state replaced it, it is shown."""
    publisher: Name | None = None
    """Publisher whose order ``revision`` belongs to; events without one share one order."""
    revision: Count | None = None
    """Increases with each event of a publisher. An event whose revision is not above the highest
    received from its publisher for the same key is a duplicate."""


Event = TypeVar("Event", bound=Published)


def identified(event: Event, *, instance: str, recipe: str, model: str) -> Event:
    """Return the event with the identity of the state it describes.

    The identity is ``<instance>/<recipe>/<model>/<digest of the state>``. The digest covers the
    event's type and all its values, so that equal identities mean equal events. The instance is the
    digest of the split (the episodes of each side); empty if unknown.
    """
    state = msgspec.structs.replace(event, event_id=None, publisher=None, revision=None)
    content = msgspec.json.encode(state, order="deterministic")
    digest = hashlib.sha256(content).hexdigest()
    parts = (instance[:_DIGITS] or "-", recipe, model, digest[:_DIGITS])
    return msgspec.structs.replace(event, event_id="/".join(parts))


class Stamp:
    """Numbers the events of one process, under a publisher name of its own.

    A counter, not a clock: a clock that was once ahead would hide every later event.
    """

    def __init__(self, publisher: str | None = None) -> None:
        """Start at revision zero; no other process uses the publisher's name, random by default."""
        self._publisher = publisher or secrets.token_hex(8)
        self._revisions = itertools.count()

    def stamped(self, events: Iterable[Event]) -> list[Event]:
        """Return events with the next revisions, in order; existing revisions are kept."""
        return [
            event
            if event.revision is not None
            else msgspec.structs.replace(
                event, publisher=self._publisher, revision=next(self._revisions)
            )
            for event in events
        ]

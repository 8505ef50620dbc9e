"""Events to a dashboard of either age: which one it is, it says by what it refuses."""

from collections.abc import Callable
from typing import Final

from cis490_pipeline.errors import EventRefusedError
from cis490_pipeline.events.contract import Event
from cis490_pipeline.events.publisher import Publisher

MAX_EVENTS: Final = 2000
"""Of one request."""
_NO_LISTS: Final = frozenset({400, 404, 405, 422, 500, 501})
"""Answers of a server that can make no sense of a list; others mean what they say."""


class Delivery:
    """Sends events in requests of bounded size, in the words the dashboard understands.

    The first time a list is refused as no sense, the older form is tried: each event alone, with
    its required keys. If that is taken, it stays so.

    Attributes
    ----------
    older : whether the dashboard was found to be the older one.
    """

    def __init__(self, publisher: Publisher, tell: Callable[[str], None]) -> None:
        self._publisher = publisher
        self._tell = tell
        self.older = False

    @property
    def url(self) -> str:
        """Where events go to."""
        return self._publisher.url

    def send(self, events: list[Event]) -> int:
        """Deliver events in order.

        Returns
        -------
        How many the dashboard says it passed on.

        Raises
        ------
        EventError
            If one request fails; those before it were delivered.
        """
        parts = (events[i : i + MAX_EVENTS] for i in range(0, len(events), MAX_EVENTS))
        return sum(map(self._send, parts))

    def _send(self, events: list[Event]) -> int:
        if self.older:
            return self._publisher.publish_older(events)
        try:
            return self._publisher.publish(events)
        except EventRefusedError as refusal:
            if refusal.status not in _NO_LISTS:
                raise
            try:
                delivered = self._publisher.publish_older(events)
            except EventRefusedError:
                # Not the list was the fault: what was said of it is the better message.
                raise refusal from None
        self.older = True
        self._tell(f"{self.url} takes no lists: from now on one event at a time, old keys only")
        return delivered

"""Feed protocol, and replay of a recording at a chosen speed."""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Final

from cis490_pipeline.domain import NS_PER_S
from cis490_pipeline.live.feeds.agent_status import AgentStatus
from cis490_pipeline.live.feeds.rows import LiveRow
from cis490_pipeline.store.rows.row import RowFault

Arrival = LiveRow | AgentStatus | RowFault

PIECE_BYTES: Final = 1 << 16
"""Bytes per read, at most."""
POLL_S: Final = 0.1
"""Polling interval of files, which cannot signal that they have grown, s."""


class Feed(ABC):
    """Source of rows as they arrive, in batches of bounded size, until it has ``ended``."""

    def __init__(self) -> None:
        self.ended = False

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the recording, or of where its rows come from."""

    @property
    def pace(self) -> float:
        """Device seconds per second of real time; 0 if all rows are available already."""
        return 1.0

    def start_ns(self) -> int | None:
        """Start of the recording by its labels, Unix ns; None if unknown."""
        return None

    @abstractmethod
    def poll(self, wait_s: float) -> list[Arrival]:
        """Return what arrived, in order; if nothing did, wait up to ``wait_s``."""

    def close(self) -> None:  # noqa: B027 - a feed may hold nothing
        """Close files and connections."""


class PacedFeed(Feed):
    """Replays a recorded feed, all of whose rows are available, in real time or faster.

    ``speed`` is in seconds of the recording per second of real time.
    """

    def __init__(
        self,
        feed: Feed,
        speed: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__()
        self._feed = feed
        self._speed = speed
        self._clock, self._sleep = clock, sleep
        self._held: deque[Arrival] = deque()
        self._first: tuple[int, float] | None = None

    @property
    def name(self) -> str:
        """Name of the recording."""
        return self._feed.name

    @property
    def pace(self) -> float:
        """Speed of the replay."""
        return self._speed

    def start_ns(self) -> int | None:
        """Start of the recording, Unix ns; None if unknown."""
        return self._feed.start_ns()

    def poll(self, wait_s: float) -> list[Arrival]:
        """Return the rows that are due."""
        if not self._held:
            self._held.extend(self._feed.poll(0))
        given: list[Arrival] = []
        while self._held and (left_s := self._left_s(self._held[0])) <= 0:
            given.append(self._held.popleft())
        self.ended = not self._held and self._feed.ended
        if not given:
            self._sleep(min(wait_s, left_s) if self._held else min(wait_s, POLL_S))
        return given

    def close(self) -> None:
        """Close the recorded feed."""
        self._feed.close()

    def _left_s(self, arrival: Arrival) -> float:
        """Seconds until an arrival is due; others are due at once."""
        if not isinstance(arrival, LiveRow):
            return 0.0
        now = self._clock()
        if self._first is None:
            self._first = arrival.t_wall_ns, now
        first_ns, began = self._first
        return began + (arrival.t_wall_ns - first_ns) / NS_PER_S / self._speed - now

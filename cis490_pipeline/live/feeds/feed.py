"""What every feed does, and how it finds its pace."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from cis490_pipeline.domain import NS_PER_S
from cis490_pipeline.live.feeds.rows import LiveRow
from cis490_pipeline.store.rows.row import RowFault

Arrival = LiveRow | RowFault

PIECE_BYTES: Final = 1 << 16
"""Bytes that are read at once."""
POLL_S: Final = 0.1
"""Seconds between two looks at what does not tell of itself that it has grown."""


class Feed(Protocol):
    """Gives rows as they arrive, in pieces of bounded size."""

    @property
    def name(self) -> str:
        """What is recorded, or where it comes from."""
        ...

    @property
    def ended(self) -> bool:
        """Whether no row will come any more."""
        ...

    @property
    def pace(self) -> float:
        """Seconds of the device for each second here; 0 where rows are there already."""
        ...

    def start_ns(self) -> int | None:
        """Where the recording says that its time begins, Unix ns; None if it does not."""
        ...

    def poll(self, wait_s: float) -> list[Arrival]:
        """Give what has arrived, in order; if nothing has, wait for at most so long."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class PacedFeed:
    """Another feed, at the pace at which it was recorded, or some times faster.

    Parameters
    ----------
    feed : whose rows are there already.
    speed : seconds of the recording for each second of the clock.
    clock, sleep : of this machine; seconds.
    """

    def __init__(
        self,
        feed: Feed,
        speed: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._feed = feed
        self._speed = speed
        self._clock, self._sleep = clock, sleep
        self._held: deque[Arrival] = deque()
        self._first: tuple[int, float] | None = None

    @property
    def name(self) -> str:
        """Of the feed."""
        return self._feed.name

    @property
    def ended(self) -> bool:
        """Whether all rows were given."""
        return not self._held and self._feed.ended

    @property
    def pace(self) -> float:
        """Times its own pace at which the recording is given."""
        return self._speed

    def start_ns(self) -> int | None:
        """Of the feed."""
        return self._feed.start_ns()

    def poll(self, wait_s: float) -> list[Arrival]:
        """Give the rows whose time has come."""
        if not self._held:
            self._held.extend(self._feed.poll(0))
        given: list[Arrival] = []
        while self._held and (left_s := self._left_s(self._held[0])) <= 0:
            given.append(self._held.popleft())
        if not given:
            self._sleep(min(wait_s, left_s) if self._held else min(wait_s, POLL_S))
        return given

    def close(self) -> None:
        """Close the feed."""
        self._feed.close()

    def _left_s(self, arrival: Arrival) -> float:
        """Seconds until an arrival is due; what is no row is due at once."""
        if not isinstance(arrival, LiveRow):
            return 0.0
        now = self._clock()
        if self._first is None:
            self._first = arrival.t_wall_ns, now
        first_ns, began = self._first
        return began + (arrival.t_wall_ns - first_ns) / NS_PER_S / self._speed - now

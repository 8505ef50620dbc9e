"""Rate limit per address: a token bucket that refills at a steady rate."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MAX_ADDRESSES: Final = 1_024


@dataclass(slots=True)
class _Bucket:
    left: float
    at_s: float


class RateLimit:
    """Token bucket per address, refilled ``per_s``, of capacity ``burst``.

    The least recently used bucket is dropped first.
    """

    def __init__(
        self, per_s: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def allows(self, address: str, cost: float = 1.0) -> bool:
        """Take from an address's bucket; ``False`` and nothing taken if there is not enough."""
        bucket = self._filled(address)
        if bucket.left < cost:
            return False
        bucket.left -= cost
        return True

    def wait_s(self, address: str, cost: float = 1.0) -> float:
        """Seconds until an address's bucket holds enough; takes nothing."""
        if address not in self._buckets:
            return 0.0
        missing = cost - self._filled(address).left
        return missing / self._per_s if missing > 0 else 0.0

    def _filled(self, address: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.get(address)
        if bucket is None:
            bucket = self._buckets[address] = _Bucket(self._burst, now)
            if len(self._buckets) > MAX_ADDRESSES:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(address)
        bucket.left = min(self._burst, bucket.left + (now - bucket.at_s) * self._per_s)
        bucket.at_s = now
        return bucket

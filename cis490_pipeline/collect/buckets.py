"""Netflow rows on time: ten buckets of 100 ms are closed in one wake-up a second.

The kernel stamps each packet when it is received, so a bucket need not be closed at its end. Ten
wake-ups a second would themselves show in the guest rows of an idle device.
"""

from __future__ import annotations

from cis490_pipeline.collect.contract import BUCKET_NS, NS_PER_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cis490_pipeline.collect.capture import Capture
    from cis490_pipeline.collect.clock import Anchor
    from cis490_pipeline.collect.contract import Row

MOST_BEHIND_NS = 10 * NS_PER_S
"""Older buckets are skipped: this process was stopped, and nobody waits for them."""
LONGEST_GAP_NS = NS_PER_S // 10
PACKETS_A_LOOK = 200
"""Packets that the smallest receive buffer surely holds."""


class Buckets:
    """Closes the buckets of a capture, from the first that it sees whole.

    Attributes
    ----------
    look_ns : time from which on waiting packets are worth a wake-up.
    n_skipped : buckets left out since, because this process was stopped.
    """

    def __init__(self, capture: Capture, anchor: Anchor, now_ns: int) -> None:
        self.capture = capture
        self.look_ns = now_ns
        self.n_skipped = 0
        self._anchor = anchor
        self._end_ns = (now_ns // BUCKET_NS + 2) * BUCKET_NS
        self._looked_ns = now_ns
        self._n_packets = 0

    @property
    def first_tick_ns(self) -> int:
        """Time of a tick at which a bucket has just settled."""
        return self._end_ns + self.capture.lag_ns

    def look(self, now_ns: int) -> None:
        """Take the packets that wait, and choose the time of the next look by their rate.

        A wake-up for each packet would cost more than the packet; a buffer that overflows costs its
        bucket. A ring hands over whole blocks, and needs no such care.
        """
        self.capture.receive()
        n_packets = self.capture.statistics().packets
        n_new, self._n_packets = n_packets - self._n_packets, n_packets
        gap_ns = 0
        if n_new > 0 and self.capture.lag_ns < BUCKET_NS:
            gap_ns = PACKETS_A_LOOK * (now_ns - self._looked_ns) // n_new
            gap_ns = min(max(gap_ns, self.capture.pause_ns), LONGEST_GAP_NS)
        self._looked_ns = now_ns
        self.look_ns = now_ns + gap_ns

    def close_until(self, now_ns: int) -> list[Row]:
        """Return the rows of the buckets that have ended, and whose packets have all arrived."""
        self.look(now_ns)
        settled_ns = now_ns - self.capture.lag_ns
        n_behind = (settled_ns - self._end_ns) // BUCKET_NS
        if n_behind * BUCKET_NS > MOST_BEHIND_NS:
            self._end_ns += n_behind * BUCKET_NS
            self.n_skipped += n_behind
        rows = []
        while self._end_ns <= settled_ns:
            end_wall_ns = self._anchor.wall_ns(self._end_ns)
            rows.append(self.capture.close_bucket(end_wall_ns, self._end_ns))
            self._end_ns += BUCKET_NS
        return rows

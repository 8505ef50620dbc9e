"""Rows in order of time from counts that come roughly in order, empty buckets included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

from cis490_pipeline.collect.contract import BUCKET_NS, NS_PER_S, Amounts, Row, netflow_row

MAX_GAP_NS = 3600 * NS_PER_S
"""Silence of a whole recording after which it is taken to have been off: no rows, not zeros."""
MAX_TIME_NS = 2**63 - 1 - 2 * MAX_GAP_NS
"""Latest time of a row: beyond it times are no int64 (year 2262)."""


class UnreadableError(Exception):
    """A recording cannot be read; says where, what was found, what was wanted, and the remedy."""


class Timeline:
    """Buckets (start, end] of one recording, closed in order and each once.

    A bucket stays open until a time beyond its end by the tolerance was seen, so that what comes
    out of order by less still counts where it belongs. What comes later is `refused`.

    Parameters
    ----------
    close : returns the amounts of the bucket that ends at a time; called for each row in order.
    tolerance_ns : how far back in time a packet may come.
    edge_ns : end of any bucket, Unix ns.
    """

    def __init__(
        self, close: Callable[[int], Amounts], *, tolerance_ns: int, edge_ns: int = 0
    ) -> None:
        self._close = close
        self._tolerance_ns = tolerance_ns
        self._edge_ns = edge_ns % BUCKET_NS
        self._next: int | None = None
        self._latest_ns = 0
        self._due_ns = 0
        """Time that completes the next row."""
        self._first_ns: int | None = None
        self._moved = False
        """Whether the next bucket is fixed: a row was made since the start, or since a gap."""
        self._floor: int | None = None
        """First bucket that has no row yet; None before the first row."""
        self.n_rows = 0
        self.gaps: list[tuple[int, int]] = []
        """First gaps without rows, from and to, Unix ns."""
        self.n_gaps = 0
        self.refused = 0
        """Counts that came too late for their bucket."""
        self.furthest_back_ns = 0

    def index_of(self, t_ns: int) -> int:
        """Return the number of the bucket of a time; its end is ``end_of``."""
        return -((self._edge_ns - t_ns) // BUCKET_NS)

    def end_of(self, index: int) -> int:
        """Return the end of a bucket, Unix ns."""
        return self._edge_ns + index * BUCKET_NS

    def passes(self, t_ns: int) -> bool:
        """Move on to a time in order that completes no row; False: ask `takes` and `admit`."""
        if self._latest_ns <= t_ns < self._due_ns:
            self._latest_ns = t_ns
            return True
        return False

    def admit(self, t_ns: int) -> Iterator[Row]:
        """Move on to a time, yielding the rows that are complete.

        Ask `takes` before; what has this time is counted after the rows were taken.
        """
        index = self.index_of(t_ns)
        if self._next is None:
            self._next, self._latest_ns = index, t_ns
        elif t_ns - self._latest_ns > max(MAX_GAP_NS, self._tolerance_ns):
            yield from self.finish()
            self.n_gaps += 1
            if len(self.gaps) < 3:
                self.gaps.append((self._latest_ns, t_ns))
            self._next, self._latest_ns, self._moved = index, t_ns, False
        elif not self._moved:
            self._next = min(self._next, index)
        self._latest_ns = max(self._latest_ns, t_ns)
        # The newest bucket that can get nothing more.
        yield from self._until(self.index_of(self._latest_ns - self._tolerance_ns) - 1)
        self._due_ns = self.end_of(self._next) + self._tolerance_ns

    def takes(self, t_ns: int) -> bool:
        """Return whether what has this time may still count; counts it as refused if not."""
        if self._next is None:
            return True
        behind_ns, index = self._latest_ns - t_ns, self.index_of(t_ns)
        is_open = self._floor is None or index >= self._floor
        if is_open and (behind_ns <= self._tolerance_ns or (self._moved and index >= self._next)):
            return True
        self.refused += 1
        self.furthest_back_ns = max(self.furthest_back_ns, behind_ns)
        return False

    def finish(self) -> Iterator[Row]:
        """Yield the rows up to the last time that was seen."""
        if self._next is not None:
            yield from self._until(self.index_of(self._latest_ns))

    def gap_lines(self) -> list[str]:
        """Return a line on each of the first gaps."""
        lines = [
            f"no rows from {start / 1e9:.3f} to {end / 1e9:.3f}: nothing at all was recorded for "
            "over an hour"
            for start, end in self.gaps
        ]
        more = self.n_gaps - len(self.gaps)
        return [*lines, f"and {more:,} more such gaps"] if more else lines

    def _until(self, last: int) -> Iterator[Row]:
        while self._next is not None and self._next <= last:
            end_ns = self.end_of(self._next)
            if self._first_ns is None:
                self._first_ns = end_ns - BUCKET_NS
            amounts = self._close(end_ns)
            self._next += 1
            self._moved, self._floor = True, self._next
            self.n_rows += 1
            yield netflow_row(amounts, end_ns, end_ns - self._first_ns)

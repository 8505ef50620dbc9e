"""Clocks of an agent: ticks on the monotonic clock, and the wall clock's offset from it."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

STEP_NS = 50_000_000
"""A change of the wall clock's offset in one second above this is a step, not a correction."""
_BRACKETS = 3


def wall_offset_ns() -> int:
    """Wall clock minus monotonic clock, ns: the narrowest of three bracketed readings.

    A process that is interrupted between two clock readings would see an offset that is none.
    """
    narrowest = None
    for _ in range(_BRACKETS):
        before = time.monotonic_ns()
        wall = time.time_ns()
        after = time.monotonic_ns()
        if narrowest is None or after - before < narrowest[0]:
            narrowest = after - before, wall - (before + after) // 2
    assert narrowest is not None
    return narrowest[1]


class Anchor:
    """Offset of the wall clock from the monotonic clock, read again every second.

    Attributes
    ----------
    offset_ns : Unix time minus monotonic time, ns.
    n_steps : changes above 50 ms so far: a corrected date, or a machine that was suspended.
    last_step_ns : size of the latest of them, ns; 0 if there was none.
    """

    def __init__(self, read: Callable[[], int] = wall_offset_ns) -> None:
        self._read = read
        self.offset_ns: int = read()
        self.n_steps = 0
        self.last_step_ns = 0

    def wall_ns(self, mono_ns: int) -> int:
        """Unix time of a monotonic time, ns."""
        return mono_ns + self.offset_ns

    def follow(self) -> int:
        """Read the offset again; return the step in ns, or 0 for a change of at most 50 ms."""
        before, self.offset_ns = self.offset_ns, self._read()
        change = self.offset_ns - before
        if abs(change) <= STEP_NS:
            return 0
        self.n_steps += 1
        self.last_step_ns = change
        return change


class Ticks:
    """Absolute ticks: each at the start plus a whole number of periods, so that none drifts.

    Attributes
    ----------
    next_ns : time of the next tick.
    n_missed : ticks that were skipped because the process ran too late for them.
    """

    def __init__(self, start_ns: int, period_ns: int) -> None:
        self.next_ns = start_ns
        self.n_missed = 0
        self._period_ns = period_ns

    def take(self, now_ns: int) -> int | None:
        """Take the tick that is due and return how late it is, ns; None before its time.

        Ticks that passed meanwhile are skipped and counted: readings made up afterwards would be
        stamped with times at which nothing was read.
        """
        late_ns = now_ns - self.next_ns
        if late_ns < 0:
            return None
        n_missed = late_ns // self._period_ns
        self.n_missed += n_missed
        self.next_ns += (n_missed + 1) * self._period_ns
        return late_ns

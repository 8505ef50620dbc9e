"""An agent in made-up time: a guest, a capture and an output that never wait."""

from collections.abc import Iterable
from typing import NamedTuple

from cis490_pipeline.collect.clock import Anchor
from cis490_pipeline.collect.contract import GUEST_FIELDS, NO_AMOUNTS, Row, netflow_row
from cis490_pipeline.collect.outputs.sinks import Output

S = 1_000_000_000
WALL_NS = 1_795_339_159 * S


class Counted(NamedTuple):
    """Counts of a capture."""

    packets: int
    dropped: int


class MadeUpTime:
    """Clocks that move only while somebody waits.

    Attributes
    ----------
    stops : (time, length) of pauses in which the process does not run.
    """

    def __init__(self) -> None:
        self.now_ns = 5 * S + 12_345_678
        self.wall_ns = WALL_NS
        self.stops: list[tuple[int, int]] = []

    def monotonic_ns(self) -> int:
        """Monotonic time."""
        return self.now_ns

    def anchor(self) -> Anchor:
        """Wall clock of this time."""
        return Anchor(lambda: self.wall_ns)

    def select(
        self, readable: Iterable[int], writable: list[int], _: object, timeout_s: float
    ) -> tuple[list[int], list[int], list[int]]:
        """Take the place of `select.select`: what can be written is written at once."""
        if writable:
            return [], writable, []
        # A little too late, as a real machine is.
        self.now_ns += round(timeout_s * S) + 70_000
        while self.stops and self.stops[0][0] <= self.now_ns:
            self.now_ns += self.stops.pop(0)[1]
        return [], [], []


class MadeUpGuest:
    """Gives a reading that takes 2 ms."""

    def __init__(self, time: MadeUpTime, *, lost: tuple[str, ...] = ()) -> None:
        self._time, self._lost = time, lost

    def readings(self) -> dict[str, int | float | None]:
        """Return the readings of one moment."""
        self._time.now_ns += 2_000_000
        return {name: None if name in self._lost else 7 for name in GUEST_FIELDS}

    def close(self) -> None:
        """Do nothing: it has no files."""


class MadeUpCapture:
    """Capture without packets, which notes what it is asked.

    Attributes
    ----------
    ends : wall and monotonic time of each bucket that was closed.
    n_looks : looks for packets.
    """

    lag_ns = pause_ns = 5_000_000

    def __init__(self, n_packets_a_look: int = 0) -> None:
        self.ends: list[tuple[int, int]] = []
        self.n_looks = 0
        self.is_closed = False
        self._n_packets_a_look = n_packets_a_look

    def filenos(self) -> list[int]:
        """Return a descriptor."""
        return [99]

    def receive(self) -> None:
        """Count the look."""
        self.n_looks += 1

    def close_bucket(self, end_wall_ns: int, end_mono_ns: int) -> Row:
        """Note the end, and return a row without amounts."""
        self.ends.append((end_wall_ns, end_mono_ns))
        return netflow_row(NO_AMOUNTS, end_wall_ns, end_mono_ns)

    def statistics(self) -> Counted:
        """Return the same number of packets for each look."""
        return Counted(self.n_looks * self._n_packets_a_look, 0)

    def close(self) -> None:
        """Note it."""
        self.is_closed = True


class MadeUpOutput(Output):
    """Output that keeps what it is sent.

    Attributes
    ----------
    is_up : whether it can be opened.
    """

    piece_bytes = 1000

    def __init__(self) -> None:
        super().__init__("made up")
        self.is_up = True
        self.content = b""

    def tend(self, now_ns: int) -> None:
        """Open, or break."""
        if self.is_open and not self.is_up:
            self._broke("is down", now_ns)
        elif not self.is_open and now_ns >= self.due_ns:
            if self.is_up:
                self._opened(now_ns)
            else:
                self._broke("is down", now_ns)

    def to_write(self, pending: bool) -> int | None:
        """Return a descriptor while lines wait."""
        return 98 if pending and self.is_open else None

    def _write(self, piece: bytes) -> int:
        self.content += piece
        return len(piece)

"""Bounded queue of lines between the readings and an output that may be slow or gone."""

from __future__ import annotations

from collections import deque

KEPT_NS = 10_000_000_000
"""Age at which an unsent line is dropped: a live reader's windows have closed without it."""
MAX_LINES = 512
"""Lines held, at most: several times what ten seconds make."""


class Outbox:
    """Lines that wait to be sent, at most ten seconds of them; the oldest are dropped and counted.

    Attributes
    ----------
    n_dropped : lines dropped so far.
    """

    def __init__(self) -> None:
        self.n_dropped = 0
        self._lines: deque[tuple[int, bytes]] = deque()
        self._n_sent = 0
        self._has_first = False

    def __len__(self) -> int:
        """Lines that wait."""
        return len(self._lines)

    def put(self, line: bytes, now_ns: int) -> None:
        """Append a line that ends with a line feed."""
        self._lines.append((now_ns, line))
        self.expire(now_ns)

    def expire(self, now_ns: int) -> None:
        """Drop lines that are too old or too many, the oldest first.

        The rest of a line that is half sent stays, and so does what a connection begins with.
        """
        lines = self._lines
        oldest = 1 if self._n_sent or self._has_first else 0
        while len(lines) > oldest and (
            len(lines) > MAX_LINES or now_ns - lines[oldest][0] > KEPT_NS
        ):
            del lines[oldest]
            self.n_dropped += 1

    def piece(self, n_bytes: int) -> bytes:
        """Return up to ``n_bytes`` to send next; they stay until `sent`."""
        parts = []
        left = n_bytes
        skip = self._n_sent
        for _, line in self._lines:
            parts.append(line[skip : skip + left])
            left -= len(parts[-1])
            skip = 0
            if left <= 0:
                break
        return b"".join(parts)

    def sent(self, n_bytes: int) -> None:
        """Forget bytes that the output took."""
        self._n_sent += n_bytes
        while self._lines and self._n_sent >= len(self._lines[0][1]):
            self._n_sent -= len(self._lines.popleft()[1])
            self._has_first = False

    def begin_again(self, first: bytes, now_ns: int) -> None:
        """Begin a connection: with a line of its own, and a half-sent one from its start."""
        if self._has_first:
            self._lines.popleft()
        self._n_sent = 0
        self._has_first = False
        self.expire(now_ns)
        self._lines.appendleft((now_ns, first))
        self._has_first = True

"""Assemble lines from pieces of bytes that may end within a line."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from cis490_pipeline.store.rows.strict_json import MAX_LINE_BYTES


@dataclass
class LineAssembler:
    """Assembles lines, holding at most one line of the maximum length.

    Attributes
    ----------
    number : complete lines so far, including overlong ones.
    """

    number: int = 0
    _rest: bytearray = field(default_factory=bytearray)
    _overlong: bool = False

    def feed(self, piece: bytes) -> Iterator[tuple[int, bytes | None]]:
        """Add a piece and yield the lines it completes, with their numbers from 1.

        A line over 1 MiB is not kept, but is None.
        """
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            self._hold(piece[start:end])
            yield self._ended()
            start = end + 1
        self._hold(piece[start:])

    def finish(self) -> Iterator[tuple[int, bytes | None]]:
        """Yield what follows the last line feed: nothing more will come."""
        if self._rest or self._overlong:
            yield self._ended()

    @property
    def pending(self) -> int:
        """Bytes held of an incomplete line."""
        return len(self._rest)

    def _hold(self, part: bytes) -> None:
        if self._overlong or len(self._rest) + len(part) > MAX_LINE_BYTES:
            self._overlong = True
            self._rest.clear()
            return
        self._rest += part

    def _ended(self) -> tuple[int, bytes | None]:
        self.number += 1
        line = None if self._overlong else bytes(self._rest)
        self._rest.clear()
        self._overlong = False
        return self.number, line

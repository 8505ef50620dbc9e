"""Bytes that arrive in pieces, as whole lines; a piece may end in the middle of one."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from cis490_pipeline.store.rows.strict_json import MAX_LINE_BYTES


@dataclass
class LineAssembler:
    """Puts lines together. What is held is at most one line's limit, whatever arrives.

    Attributes
    ----------
    number : lines ended so far, those that were too long included.
    """

    number: int = 0
    _rest: bytearray = field(default_factory=bytearray)
    _overlong: bool = False

    def feed(self, piece: bytes) -> Iterator[tuple[int, bytes | None]]:
        """Take a piece and give the lines it ends.

        Yields
        ------
        Number of the line, from 1, and its bytes without the line feed; None for a line of more
        than 1 MiB, whose bytes were not kept.
        """
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            self._hold(piece[start:end])
            yield self._ended()
            start = end + 1
        self._hold(piece[start:])

    def finish(self) -> Iterator[tuple[int, bytes | None]]:
        """Give what stands after the last line feed: nothing more will come."""
        if self._rest or self._overlong:
            yield self._ended()

    @property
    def pending(self) -> int:
        """Bytes held of a line that has not ended."""
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

"""Merge the files of several sources into one sequence of rows in order of time."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from cis490_pipeline.domain import Source
from cis490_pipeline.live.feeds.feed import PIECE_BYTES, Arrival
from cis490_pipeline.live.feeds.lines import LineAssembler
from cis490_pipeline.live.feeds.rows import LiveRow, read_line
from cis490_pipeline.store.rows.row import RowFault

MAX_ROWS: Final = 2000
"""Rows per batch, at most."""
OVERLONG: Final = "is longer than 1 MiB"


class Readable(Protocol):
    """File-like object that may have grown since it was last read."""

    def read_more(self, n_bytes: int) -> bytes:
        """Return up to ``n_bytes``; none if there are no more now."""
        ...


class SourceLines:
    """Rows of one source's file in file order, read on demand."""

    def __init__(self, source: Source, readable: Readable) -> None:
        self.source = source
        self._readable = readable
        self._lines = LineAssembler()
        self._waiting: deque[LiveRow] = deque()
        self.faults: deque[RowFault] = deque()
        self.at_end = False

    @property
    def next_ns(self) -> int | None:
        """Time of the next row; None if there is none now."""
        return self._waiting[0].t_wall_ns if self._waiting else None

    def take(self) -> LiveRow:
        """Return the next row."""
        return self._waiting.popleft()

    def read(self) -> None:
        """Read until a row is ready or the file has no more now."""
        self.at_end = False
        while not self._waiting and not self.at_end:
            piece = self._readable.read_more(PIECE_BYTES)
            self.at_end = len(piece) < PIECE_BYTES
            self._keep(self._lines.feed(piece))

    def finish(self) -> None:
        """Take what follows the last line feed as a line: the file is complete."""
        self._keep(self._lines.finish())

    def restart(self) -> None:
        """Start over with a new file of the same source."""
        self._lines = LineAssembler()

    def _keep(self, lines: Iterator[tuple[int, bytes | None]]) -> None:
        place = self.source.member
        for number, line in lines:
            if line is None:
                self.faults.append(RowFault(place, number, None, OVERLONG))
                continue
            read = read_line(line, place=place, number=number, source=self.source)
            if isinstance(read, LiveRow):
                self._waiting.append(read)
            elif isinstance(read, RowFault):
                self.faults.append(read)


def merged(files: Sequence[SourceLines]) -> list[Arrival]:
    """Return the next rows of all files in order of time, at most 2,000, and faults.

    A file without more rows now does not hold up the others; its later rows follow later.
    """
    arrivals: list[Arrival] = []
    while len(arrivals) < MAX_ROWS:
        for file in files:
            if file.next_ns is None and not file.at_end:
                file.read()
            while file.faults:
                arrivals.append(file.faults.popleft())
        ready = [file for file in files if file.next_ns is not None]
        if not ready:
            break
        first = min(ready, key=lambda file: (file.next_ns, list(Source).index(file.source)))
        arrivals.append(first.take())
    for file in files:
        # The next call checks again for appended rows.
        file.at_end = False
    return arrivals

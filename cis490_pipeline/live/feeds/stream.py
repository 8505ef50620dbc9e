"""Feeds of JSON lines from an open file, such as standard input."""

import os
import select
import stat
from collections.abc import Iterator
from dataclasses import replace

from cis490_pipeline.errors import ConfigError
from cis490_pipeline.live.feeds.agent_status import AgentStatus
from cis490_pipeline.live.feeds.device import DeviceGate
from cis490_pipeline.live.feeds.feed import PIECE_BYTES, Arrival, Feed
from cis490_pipeline.live.feeds.line_hints import line_hint
from cis490_pipeline.live.feeds.lines import LineAssembler
from cis490_pipeline.live.feeds.merge import OVERLONG
from cis490_pipeline.live.feeds.rows import read_line
from cis490_pipeline.store.rows.row import RowFault


class StreamFeed(Feed):
    """Rows of an open file, such as standard input, until its end."""

    def __init__(self, fd: int, name: str) -> None:
        """Wrap an open file; `ConfigError` if it is closed, or a folder."""
        try:
            mode = os.fstat(fd).st_mode
        except OSError as fault:
            raise ConfigError(f"{name} cannot be read: {fault}; give it rows, or a file") from fault
        if stat.S_ISDIR(mode):
            raise ConfigError(f"{name} is a folder; wanted rows, or the folder as SOURCE")
        super().__init__()
        self._fd, self._name = fd, name
        self._lines = LineAssembler()
        self._gate = DeviceGate()
        # Files on disk never block, and epoll does not take them.
        self._waits = not stat.S_ISREG(mode)

    @property
    def name(self) -> str:
        """Name of the file."""
        return self._name

    @property
    def pace(self) -> float:
        """0 for a file on disk, whose rows are all available; 1 for rows that arrive live."""
        return 1.0 if self._waits else 0.0

    def poll(self, wait_s: float) -> list[Arrival]:
        """Return the lines that arrived."""
        if self.ended or (self._waits and not select.select([self._fd], [], [], wait_s)[0]):
            return []
        try:
            piece = os.read(self._fd, PIECE_BYTES)
        except BlockingIOError:
            return []
        except OSError as fault:
            # A closed terminal or a failing disk ends the rows.
            self.ended = True
            return [RowFault(self._name, self._lines.number, None, f"broke off: {fault}")]
        self.ended = not piece
        lines = self._lines.feed(piece) if piece else self._lines.finish()
        return [self._admitted(arrival) for arrival in line_arrivals(lines, self._name)]

    def _admitted(self, arrival: Arrival) -> Arrival:
        """Name the status of a second device: the rows of the two are mixed here."""
        if not isinstance(arrival, AgentStatus):
            return arrival
        refusal = self._gate.refusal(arrival)
        return (
            arrival if refusal is None else RowFault(self._name, self._lines.number, None, refusal)
        )


def line_arrivals(lines: Iterator[tuple[int, bytes | None]], place: str) -> Iterator[Arrival]:
    """Yield the row, the status or the fault of each line.

    Parameters
    ----------
    lines : numbered lines; None for one that is too long.
    place : where they come from.
    """
    for number, line in lines:
        if line is None:
            yield RowFault(place, number, None, OVERLONG)
            continue
        read = read_line(line, place=place, number=number)
        hint = line_hint(line) if isinstance(read, RowFault) else None
        if hint is not None and isinstance(read, RowFault):
            read = replace(read, problem=f"{read.problem}; {hint}")
        yield read

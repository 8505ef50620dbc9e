"""Non-blocking output of whole lines to a file or pipe that may be full, unread or gone."""

import errno
import os
import select
import stat
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cis490_pipeline.storage.json_text import Json

MAX_WAITING_BYTES: Final = 1 << 20
"""Bytes of unwritten lines, at most; beyond it the oldest are dropped and counted."""
CLOSING_S: Final = 2.0
"""Seconds allowed for the last lines."""
_UNREAD: Final = "nothing reads it"


@dataclass(frozen=True, kw_only=True)
class SinkReport:
    """State of an output.

    Attributes
    ----------
    trouble : why lines cannot be written now; None while they can.
    n_waiting : lines waiting to be written.
    n_lost : lines dropped because too many waited.
    """

    name: str
    trouble: str | None
    n_waiting: int
    n_lost: int

    def to_dict(self) -> dict[str, Json]:
        """As a JSON object."""
        return {"trouble": self.trouble, "waiting": self.n_waiting, "lost": self.n_lost}

    def __str__(self) -> str:
        """Return the state as text."""
        lost = f", {self.n_lost} lines lost" if self.n_lost else ""
        if self.trouble is None:
            return f"{self.name}: writes{' again' if lost else ''}{lost}"
        return f"{self.name}: {self.trouble}: {self.n_waiting} lines wait{lost}"


class PathTarget:
    """File at a path; created again after it was moved or removed.

    Raises `OSError` if it cannot be opened for another reason than a missing reader or a full disk.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        try:
            self._open()
        except OSError as fault:
            if fault.errno not in (errno.ENXIO, errno.ENOSPC):
                raise

    def fd(self) -> int:
        """Return the descriptor; reopen a file that is closed or was replaced."""
        if self._fd is not None and not self._is_there(self._fd):
            self.close()
        return self._open() if self._fd is None else self._fd

    def broken(self) -> None:
        """Close it, to be reopened for the next reader."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # A named pipe without a reader would make a blocking open wait for one.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
        self._fd = os.open(self._path, flags, 0o666)
        return self._fd

    def _is_there(self, fd: int) -> bool:
        held = os.fstat(fd)
        if not stat.S_ISREG(held.st_mode):
            return True
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)


class OpenTarget:
    """File that is already open, such as standard output; never closed here."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.gone = False

    def fd(self) -> int:
        """Return the descriptor."""
        if self.gone:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        return self._fd

    def broken(self) -> None:
        """Record that the reader is gone for good."""
        self.gone = True

    def close(self) -> None:
        """Leave it open: its opener closes it."""


class LineOutput:
    """Writes whole lines in order; lines that cannot be written wait, the newest longest."""

    def __init__(
        self,
        name: str,
        target: PathTarget | OpenTarget,
        *,
        gap: Callable[[int, str], bytes] | None = None,
        wait_s: float = 0.0,
    ) -> None:
        """Create the output, named in reports.

        ``gap`` builds the line that replaces lost ones, from their number and the reason. A reader
        is waited for up to ``wait_s`` before a line is dropped; 0 while rows keep arriving.
        """
        self.n_lost = 0
        self._name, self._target, self._gap, self._wait_s = name, target, gap, wait_s
        self._waiting: deque[bytes] = deque()
        self._n_bytes = 0
        self._n_sent = 0
        self._n_gap = 0
        self._trouble: str | None = None
        self._last_trouble = ""
        self._checked: int | None = None

    def write(self, line: bytes) -> None:
        """Write a line (with its line feed) or queue it."""
        self._waiting.append(line)
        self._n_bytes += len(line)
        self.flush()
        if self._n_bytes > MAX_WAITING_BYTES and self._wait_s:
            self._drain_for(self._wait_s)
        while self._n_bytes > MAX_WAITING_BYTES:
            self._drop_oldest()

    def flush(self) -> None:
        """Write as many waiting lines as possible without blocking."""
        try:
            while self._waiting or self._n_gap:
                self._write_head()
        except BlockingIOError:
            self._failed(_UNREAD)
        except OSError as fault:
            if fault.errno in (errno.EPIPE, errno.ENXIO):
                self._target.broken()
                # The next reader gets the line from its start.
                self._n_sent = 0
            unread = fault.errno in (errno.EPIPE, errno.ENXIO)
            self._failed(_UNREAD if unread else os.strerror(fault.errno or 0))
        else:
            self._trouble = None

    def report(self) -> SinkReport:
        """Return the state of the output."""
        return SinkReport(
            name=self._name, trouble=self._trouble, n_waiting=len(self._waiting), n_lost=self.n_lost
        )

    def close(self) -> None:
        """Write what can be written within 2 s; the rest is lost."""
        self._drain_for(CLOSING_S)
        self.n_lost += len(self._waiting)
        self._waiting.clear()
        self._target.close()

    def _failed(self, reason: str) -> None:
        self._trouble = self._last_trouble = reason

    def _drain_for(self, seconds: float) -> None:
        """Wait for a slow reader, but not for a full disk."""
        until = time.monotonic() + seconds
        self.flush()
        while self._trouble == _UNREAD and self._waiting and time.monotonic() < until:
            time.sleep(0.01)
            self.flush()

    def _drop_oldest(self) -> None:
        # A partially sent line is kept: its reader has the beginning.
        place = 1 if self._n_sent and len(self._waiting) > 1 else 0
        self._n_bytes -= len(self._waiting[place])
        del self._waiting[place]
        self.n_lost += 1
        self._n_gap += 1 if self._gap is not None else 0

    def _write_head(self) -> None:
        fd = self._target.fd()
        is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        if is_file and self._checked != fd:
            _end_torn_line(fd, self._name)
            self._checked = fd
        for_gap = self._n_gap > 0 and self._gap is not None and self._n_sent == 0
        if for_gap and self._gap is not None:
            _write_whole(fd, self._gap(self._n_gap, self._last_trouble), is_file=is_file)
            self._n_gap = 0
            return
        line = self._waiting[0]
        if is_file:
            _write_whole(fd, line, is_file=True)
        else:
            while self._n_sent < len(line):
                self._n_sent += _write_piece(fd, line[self._n_sent :])
        self._n_sent = 0
        self._n_bytes -= len(line)
        self._waiting.popleft()


def _write_piece(fd: int, rest: bytes) -> int:
    """Write as much as a pipe takes without blocking."""
    if not select.select([], [fd], [], 0)[1]:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    # A writable pipe has room for at least PIPE_BUF bytes.
    return os.write(fd, rest[: select.PIPE_BUF])


def _write_whole(fd: int, line: bytes, *, is_file: bool) -> None:
    """Write a whole line or nothing."""
    if not is_file:
        _write_piece(fd, line)
        return
    before = os.fstat(fd).st_size
    written = 0
    try:
        while written < len(line):
            written += os.write(fd, line[written:])
    except OSError:
        # Undo the partial line, unless another writer has appended since.
        if written and os.fstat(fd).st_size == before + written:
            os.ftruncate(fd, before)
            os.lseek(fd, 0, os.SEEK_END)
        raise


def _end_torn_line(fd: int, name: str) -> None:
    """Terminate a partial line left by a killed writer."""
    if not os.fstat(fd).st_size:
        return
    try:
        with Path(name).open("rb") as stream:
            stream.seek(-1, os.SEEK_END)
            torn = stream.read(1) != b"\n"
    except OSError:
        return
    if torn:
        os.write(fd, b"\n")

"""Whole lines to a file or a pipe that may be full, unread or gone; nothing waits for it."""

import errno
import os
import select
import stat
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

MAX_WAITING_BYTES: Final = 1 << 20
"""Of lines that could not be written yet; of more the oldest are dropped, and counted."""
CLOSING_S: Final = 2.0
"""Seconds that the last lines may take."""
_UNREAD: Final = "nothing reads it"


@dataclass(frozen=True, kw_only=True)
class SinkReport:
    """How an output is.

    Attributes
    ----------
    trouble : why lines cannot be written now; None while they can.
    n_waiting : lines that wait to be written.
    n_lost : lines dropped because too many waited.
    """

    name: str
    trouble: str | None
    n_waiting: int
    n_lost: int

    def to_dict(self) -> dict[str, object]:
        """As JSON carries it."""
        return {"trouble": self.trouble, "waiting": self.n_waiting, "lost": self.n_lost}

    def __str__(self) -> str:
        """Return the state in words."""
        lost = f", {self.n_lost} lines lost" if self.n_lost else ""
        if self.trouble is None:
            return f"{self.name}: writes{' again' if lost else ''}{lost}"
        return f"{self.name}: {self.trouble}: {self.n_waiting} lines wait{lost}"


class _Target(Protocol):
    """An open file, or one that can be opened again."""

    def fd(self) -> int:
        """Return the open file; open it where it is not, or is another one by now."""
        ...

    def broken(self) -> None:
        """Let go of a pipe whose reader is gone."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class PathTarget:
    """A file by its path; one that was moved away or removed is made again.

    Raises
    ------
    OSError
        If it cannot be opened, other than for want of a reader.
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
        """Return the open file."""
        if self._fd is not None and not self._is_there(self._fd):
            self.close()
        return self._open() if self._fd is None else self._fd

    def broken(self) -> None:
        """Open it again for its next reader."""
        self.close()

    def close(self) -> None:
        """Let go of the file."""
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
    """A file that is open already, such as standard output; it is left open."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.gone = False

    def fd(self) -> int:
        """Return the open file."""
        if self.gone:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        return self._fd

    def broken(self) -> None:
        """Remember that no reader will come back."""
        self.gone = True

    def close(self) -> None:
        """Leave it open: its opener closes it."""


class LineOutput:
    """Lines in order, each written as a whole; the newest wait while they cannot be written."""

    def __init__(
        self,
        name: str,
        target: _Target,
        *,
        gap: Callable[[int, str], bytes] | None = None,
        wait_s: float = 0.0,
    ) -> None:
        """Begin to write.

        Parameters
        ----------
        name : of the output, in reports.
        target : the file.
        gap : makes the line that stands for a number of lost ones, given that and the reason.
        wait_s : seconds to wait for a reader before a line is dropped; 0 where rows go on arriving.
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
        """Write a line, its line feed included, or let it wait."""
        self._waiting.append(line)
        self._n_bytes += len(line)
        self.flush()
        if self._n_bytes > MAX_WAITING_BYTES and self._wait_s:
            self._drain_for(self._wait_s)
        while self._n_bytes > MAX_WAITING_BYTES:
            self._drop_oldest()

    def flush(self) -> None:
        """Write what waits, as far as that goes now."""
        try:
            while self._waiting or self._n_gap:
                self._write_head()
        except BlockingIOError:
            self._failed(_UNREAD)
        except OSError as fault:
            if fault.errno in (errno.EPIPE, errno.ENXIO):
                self._target.broken()
                # A line is begun again for the next reader.
                self._n_sent = 0
            unread = fault.errno in (errno.EPIPE, errno.ENXIO)
            self._failed(_UNREAD if unread else os.strerror(fault.errno or 0))
        else:
            self._trouble = None

    def report(self) -> SinkReport:
        """Return how it is."""
        return SinkReport(
            name=self._name,
            trouble=self._trouble,
            n_waiting=len(self._waiting),
            n_lost=self.n_lost,
        )

    def close(self) -> None:
        """Write what can be written within 2 s; what is left is lost."""
        self._drain_for(CLOSING_S)
        self.n_lost += len(self._waiting)
        self._waiting.clear()
        self._target.close()

    def _failed(self, why: str) -> None:
        self._trouble = self._last_trouble = why

    def _drain_for(self, seconds: float) -> None:
        """Wait for a reader that is slow; not for a disk that is full."""
        until = time.monotonic() + seconds
        self.flush()
        while self._trouble == _UNREAD and self._waiting and time.monotonic() < until:
            time.sleep(0.01)
            self.flush()

    def _drop_oldest(self) -> None:
        # One that a reader has the beginning of is finished, whatever comes.
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
    """Write what a pipe takes without waiting."""
    if not select.select([], [fd], [], 0)[1]:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    # A pipe that is writable has room for so much.
    return os.write(fd, rest[: select.PIPE_BUF])


def _write_whole(fd: int, line: bytes, *, is_file: bool) -> None:
    """Write a line or nothing of it."""
    if not is_file:
        _write_piece(fd, line)
        return
    before = os.fstat(fd).st_size
    written = 0
    try:
        while written < len(line):
            written += os.write(fd, line[written:])
    except OSError:
        # Unless another writer appended meanwhile: then it is the reader's to skip.
        if written and os.fstat(fd).st_size == before + written:
            os.ftruncate(fd, before)
            os.lseek(fd, 0, os.SEEK_END)
        raise


def _end_torn_line(fd: int, name: str) -> None:
    """End the line that a killed writer left behind, so that the next one is whole."""
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

"""Feeds of JSON lines from standard input or from connections."""

import os
import select
import selectors
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from cis490_pipeline.domain.hosts import is_loopback
from cis490_pipeline.errors import ConfigError
from cis490_pipeline.live.feeds.feed import PIECE_BYTES, Arrival, Feed
from cis490_pipeline.live.feeds.line_hints import line_hint
from cis490_pipeline.live.feeds.lines import LineAssembler
from cis490_pipeline.live.feeds.merge import OVERLONG
from cis490_pipeline.live.feeds.rows import LiveRow, read_line
from cis490_pipeline.store.rows.row import RowFault

MAX_CONNECTIONS: Final = 16
"""Concurrent connections, at most; one more replaces the one that has been silent longest."""
MAX_PORT: Final = 65535


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
        if piece:
            return list(_arrivals(self._lines.feed(piece), self._name))
        self.ended = True
        return list(_arrivals(self._lines.finish(), self._name))


@dataclass
class _Connection:
    """State of one connection: its lines, its last bytes, and whether it ever sent a row."""

    place: str
    last_bytes_s: float
    lines: LineAssembler = field(default_factory=LineAssembler)
    sent_a_row: bool = False


class SocketFeed(Feed):
    """Rows of all clients that connect; together they are one device.

    Listens on loopback or on a Unix socket only: rows carry no password. Idle connections cannot
    lock a recorder out: beyond the limit, the one that never sent a row, or else the one that has
    been silent longest, is closed.

    The address is ``tcp:HOST:PORT`` (``tcp:[::1]:PORT`` for IPv6; port 0 takes a free one) or
    ``unix:PATH``. Raises `ConfigError` if it is invalid, not loopback, or in use.
    """

    def __init__(self, address: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._path: Path | None = None
        self._inode: int | None = None
        self._listener = self._listen(address)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._open: dict[socket.socket, _Connection] = {}
        self._n_accepted = 0

    @property
    def name(self) -> str:
        """Address that it listens on."""
        if self._path is not None:
            return f"unix:{self._path}"
        host, port = self._listener.getsockname()[:2]
        return f"tcp:[{host}]:{port}" if ":" in host else f"tcp:{host}:{port}"

    def poll(self, wait_s: float) -> list[Arrival]:
        """Return the lines that arrived on any connection."""
        arrivals: list[Arrival] = []
        for key, _ in self._selector.select(wait_s):
            if key.fileobj is self._listener:
                arrivals += self._accept()
            else:
                assert isinstance(key.fileobj, socket.socket)
                arrivals += self._receive(key.fileobj)
        return arrivals

    def close(self) -> None:
        """Close all connections, and remove the Unix socket."""
        for connection in list(self._open):
            self._drop(connection)
        self._selector.close()
        self._listener.close()
        if self._path is not None and _inode(self._path) == self._inode:
            self._path.unlink(missing_ok=True)

    def _listen(self, address: str) -> socket.socket:
        kind, _, rest = address.partition(":")
        try:
            if kind == "unix" and rest:
                return self._listen_unix(Path(rest))
            host, _, port = rest.rpartition(":")
            if kind == "tcp" and port.isdecimal() and int(port) <= MAX_PORT:
                host = _loopback(host)
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                return socket.create_server((host, int(port)), family=family)
        except OSError as fault:
            raise ConfigError(f"cannot listen on {address}: {fault}") from fault
        raise ConfigError(f"{address!r} is no address; wanted tcp:HOST:PORT or unix:PATH")

    def _listen_unix(self, path: Path) -> socket.socket:
        # Remove the socket of a killed run; any other file there is in use.
        if path.is_socket() and not _answers(path):
            path.unlink()
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(str(path))
        except OSError:
            listener.close()
            raise
        path.chmod(0o600)
        listener.listen()
        self._path, self._inode = path, _inode(path)
        return listener

    def _accept(self) -> list[Arrival]:
        try:
            connection, _ = self._listener.accept()
        except OSError as fault:
            # The client has gone, or this process has no more file descriptors.
            return [RowFault(self.name, 0, None, f"a connection was not accepted: {fault}")]
        closed = self._make_room() if len(self._open) >= MAX_CONNECTIONS else []
        self._n_accepted += 1
        connection.setblocking(False)
        place = f"{self.name} connection {self._n_accepted}"
        self._open[connection] = _Connection(place, self._clock())
        self._selector.register(connection, selectors.EVENT_READ)
        return closed

    def _make_room(self) -> list[Arrival]:
        """Close the connection that matters least."""
        idle = min(self._open, key=lambda c: (self._open[c].sent_a_row, self._open[c].last_bytes_s))
        closing = self._open[idle]
        silent_s = self._clock() - closing.last_bytes_s
        self._drop(idle)
        problem = f"closed after {silent_s:.0f} s of silence: {MAX_CONNECTIONS} others are open"
        return [RowFault(closing.place, closing.lines.number, None, problem)]

    def _receive(self, connection: socket.socket) -> list[Arrival]:
        # It may have been closed by ``_accept`` within this poll.
        if connection not in self._open:
            return []
        state = self._open[connection]
        try:
            piece = connection.recv(PIECE_BYTES)
        except BlockingIOError:
            return []
        except OSError as fault:
            self._drop(connection)
            return [RowFault(state.place, state.lines.number, None, f"broke off: {fault}")]
        if not piece:
            self._drop(connection)
            return list(_arrivals(state.lines.finish(), state.place))
        arrivals = list(_arrivals(state.lines.feed(piece), state.place))
        state.last_bytes_s = self._clock()
        state.sent_a_row |= any(isinstance(arrival, LiveRow) for arrival in arrivals)
        return arrivals

    def _drop(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._open[connection]
        connection.close()


def _arrivals(lines: Iterator[tuple[int, bytes | None]], place: str) -> Iterator[Arrival]:
    for number, line in lines:
        if line is None:
            yield RowFault(place, number, None, OVERLONG)
            continue
        read = read_line(line, place=place, number=number)
        hint = line_hint(line) if isinstance(read, RowFault) else None
        if hint is not None and isinstance(read, RowFault):
            read = replace(read, problem=f"{read.problem}; {hint}")
        yield read


def _loopback(host: str) -> str:
    """Validate a loopback host and return it without brackets."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if is_loopback(bare):
        return bare
    raise ConfigError(
        f"rows are accepted on loopback only, got {host!r}: they carry no password. "
        "Listen on tcp:127.0.0.1:PORT and forward the port, for example with ssh -R"
    )


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True

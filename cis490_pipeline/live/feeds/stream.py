"""Rows from standard input or from connections, one JSON object a line."""

import contextlib
import ipaddress
import os
import select
import selectors
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cis490_pipeline.errors import ConfigError
from cis490_pipeline.live.feeds.feed import PIECE_BYTES, Arrival
from cis490_pipeline.live.feeds.merge import OVERLONG
from cis490_pipeline.live.lines import LineAssembler
from cis490_pipeline.live.rows import read_line
from cis490_pipeline.store.one_row import RowFault

MAX_CONNECTIONS: Final = 16
"""At once; one more is closed as soon as it opens, and told of."""


class StreamFeed:
    """Rows of an open file, such as standard input, until it ends."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd, self._name = fd, name
        self._lines = LineAssembler()
        self._ended = False
        # epoll and select know no files on disk, which never make a reader wait.
        self._waits = not stat.S_ISREG(os.fstat(fd).st_mode)

    @property
    def name(self) -> str:
        """What it was called."""
        return self._name

    @property
    def ended(self) -> bool:
        """Whether its end was read."""
        return self._ended

    def start_ns(self) -> int | None:
        """Not known: the first row starts the time."""
        return None

    def poll(self, wait_s: float) -> list[Arrival]:
        """Give the lines that arrived."""
        if self._ended or (self._waits and not select.select([self._fd], [], [], wait_s)[0]):
            return []
        piece = os.read(self._fd, PIECE_BYTES)
        if piece:
            return list(_arrivals(self._lines.feed(piece), self._name))
        self._ended = True
        return list(_arrivals(self._lines.finish(), self._name))

    def close(self) -> None:
        """Leave the file open: whoever opened it closes it."""


class SocketFeed:
    """Rows from whoever connects; each connection has its own lines, all are one device.

    Listens on loopback or on a Unix socket only: rows carry no password.

    Parameters
    ----------
    address : ``tcp:HOST:PORT`` or ``unix:PATH``; port 0 takes a free one.

    Raises
    ------
    ConfigError
        If the address is none, not loopback, or taken.
    """

    def __init__(self, address: str) -> None:
        self._path: Path | None = None
        self._listener = self._listen(address)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._open: dict[socket.socket, tuple[str, LineAssembler]] = {}
        self._n_accepted = 0

    @property
    def name(self) -> str:
        """Where it listens."""
        if self._path is not None:
            return f"unix:{self._path}"
        host, port = self._listener.getsockname()[:2]
        return f"tcp:{host}:{port}"

    @property
    def ended(self) -> bool:
        """Never: somebody may connect."""
        return False

    def start_ns(self) -> int | None:
        """Not known: the first row starts the time."""
        return None

    def poll(self, wait_s: float) -> list[Arrival]:
        """Give the lines that arrived on any connection."""
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
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _listen(self, address: str) -> socket.socket:
        kind, _, rest = address.partition(":")
        try:
            if kind == "unix" and rest:
                return self._listen_unix(Path(rest))
            host, _, port = rest.rpartition(":")
            if kind == "tcp" and port.isdecimal():
                _require_loopback(host)
                return socket.create_server((host, int(port)))
        except OSError as fault:
            raise ConfigError(f"cannot listen on {address}: {fault}") from fault
        raise ConfigError(f"{address!r} is no address; wanted tcp:HOST:PORT or unix:PATH")

    def _listen_unix(self, path: Path) -> socket.socket:
        # What a killed run left behind; anything else there is somebody's.
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
        self._path = path
        return listener

    def _accept(self) -> list[Arrival]:
        connection, _ = self._listener.accept()
        self._n_accepted += 1
        place = f"{self.name} connection {self._n_accepted}"
        if len(self._open) >= MAX_CONNECTIONS:
            connection.close()
            return [RowFault(place, 0, None, f"closed: {MAX_CONNECTIONS} others are open")]
        connection.setblocking(False)
        self._open[connection] = place, LineAssembler()
        self._selector.register(connection, selectors.EVENT_READ)
        return []

    def _receive(self, connection: socket.socket) -> list[Arrival]:
        place, lines = self._open[connection]
        try:
            piece = connection.recv(PIECE_BYTES)
        except BlockingIOError:
            return []
        except OSError as fault:
            self._drop(connection)
            return [RowFault(place, lines.number, None, f"broke off: {fault}")]
        if piece:
            return list(_arrivals(lines.feed(piece), place))
        self._drop(connection)
        return list(_arrivals(lines.finish(), place))

    def _drop(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._open[connection]
        connection.close()


def _arrivals(lines: Iterator[tuple[int, bytes | None]], place: str) -> Iterator[Arrival]:
    for number, line in lines:
        if line is None:
            yield RowFault(place, number, None, OVERLONG)
        else:
            yield read_line(line, place=place, number=number)


def _require_loopback(host: str) -> None:
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host.strip("[]")).is_loopback:
            return
    if host != "localhost":
        raise ConfigError(
            f"rows are taken on loopback only, got {host!r}: they carry no password. "
            "Listen on tcp:127.0.0.1:PORT and forward the port, for example with ssh -R"
        )


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True

"""Feed of JSON lines from connections: TCP, with a shared token, or a Unix socket."""

import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cis490_pipeline.domain.hosts import is_loopback
from cis490_pipeline.errors import ConfigError
from cis490_pipeline.live.feeds.agent_status import AgentStatus
from cis490_pipeline.live.feeds.device import DeviceGate
from cis490_pipeline.live.feeds.feed import PIECE_BYTES, Arrival, Feed
from cis490_pipeline.live.feeds.greeting import GREETING_S, MAX_ANSWER_BYTES, ReceiverGreeting
from cis490_pipeline.live.feeds.lines import LineAssembler
from cis490_pipeline.live.feeds.rows import LiveRow
from cis490_pipeline.live.feeds.stream import line_arrivals
from cis490_pipeline.store.rows.row import RowFault

MAX_CONNECTIONS: Final = 16
"""Concurrent connections, at most; one more replaces the one that has been silent longest."""
MAX_PORT: Final = 65535


@dataclass
class _Connection:
    """State of one connection.

    Attributes
    ----------
    since_s : time of its beginning, s; ``last_bytes_s``, of its last bytes.
    greeting : by which it has to show the token; None once it has, or where none is wanted.
    answer : what it sent of its part of the greeting.
    names_device : whether its first line still has to say which device speaks.
    """

    place: str
    since_s: float
    last_bytes_s: float
    greeting: ReceiverGreeting | None
    names_device: bool
    answer: bytes = b""
    lines: LineAssembler = field(default_factory=LineAssembler)
    sent_a_row: bool = False


class SocketFeed(Feed):
    """Rows of all clients that connect; together they are one device.

    Without a token it listens on loopback or on a Unix socket only. With one, each connection shows
    that it holds it before anything is read, and its first line says which device speaks. Idle
    connections cannot lock a recorder out: beyond the limit, the one that never sent a row, or else
    the one that has been silent longest, is closed.

    Parameters
    ----------
    address : ``tcp:HOST:PORT`` (``tcp:[::1]:PORT`` for IPv6) or ``unix:PATH``; port 0 takes a free
        one.
    token : shared with all who may connect; for TCP only.
    clock : clock of this machine, s.

    Raises
    ------
    ConfigError
        If the address is invalid, in use, or not loopback and there is no token.
    """

    def __init__(
        self,
        address: str,
        *,
        token: bytes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._token = token
        self._gate = DeviceGate()
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
        arrivals: list[Arrival] = self._expire_greetings()
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
                host = _bare(host) if self._token is not None else _loopback(host)
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
        greeting = None if self._token is None else ReceiverGreeting(self._token)
        now = self._clock()
        self._open[connection] = _Connection(
            place=f"{self.name} connection {self._n_accepted}",
            since_s=now,
            last_bytes_s=now,
            greeting=greeting,
            names_device=greeting is not None,
        )
        self._selector.register(connection, selectors.EVENT_READ)
        if greeting is not None:
            _reply(connection, greeting.challenge)
        return closed

    def _expire_greetings(self) -> list[Arrival]:
        now = self._clock()
        silent = [
            connection
            for connection, state in self._open.items()
            if state.greeting is not None and now - state.since_s > GREETING_S
        ]
        problem = f"showed no token in {GREETING_S:.0f} s"
        return [self._refuse(connection, problem) for connection in silent]

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
        state.last_bytes_s = self._clock()
        if state.greeting is not None:
            return self._greet(connection, state.greeting, piece)
        lines = state.lines.feed(piece) if piece else state.lines.finish()
        arrivals = self._admitted(connection, state, list(line_arrivals(lines, state.place)))
        if not piece and connection in self._open:
            self._drop(connection)
        return arrivals

    def _greet(
        self, connection: socket.socket, greeting: ReceiverGreeting, piece: bytes
    ) -> list[Arrival]:
        """Take a part of a connection's answer; rows are read only once it is the right one."""
        state = self._open[connection]
        answer, end, rest = (state.answer + piece).partition(b"\n")
        if not piece or len(answer) > MAX_ANSWER_BYTES:
            return [self._refuse(connection, "showed no token")]
        if not end:
            state.answer = answer
            return []
        acceptance = greeting.accept(answer)
        if acceptance is None:
            return [self._refuse(connection, "the token is not the one of this receiver")]
        _reply(connection, acceptance)
        state.greeting = None
        arrivals = list(line_arrivals(state.lines.feed(rest), state.place))
        return self._admitted(connection, state, arrivals)

    def _admitted(
        self, connection: socket.socket, state: _Connection, arrivals: list[Arrival]
    ) -> list[Arrival]:
        """Return what a connection sent up to the line for which it is refused, if any is."""
        for place, arrival in enumerate(arrivals):
            problem = None
            if isinstance(arrival, AgentStatus):
                problem = self._gate.refusal(arrival)
            elif state.names_device:
                problem = "the first line must be an agent's status, which names the device"
            if problem is not None:
                return [*arrivals[:place], self._refuse(connection, problem)]
            state.names_device = False
            state.sent_a_row |= isinstance(arrival, LiveRow)
        return arrivals

    def _refuse(self, connection: socket.socket, problem: str) -> RowFault:
        """Close a connection, and say why to both sides."""
        state = self._open[connection]
        _reply(connection, b"NO " + problem.encode() + b"\n")
        self._drop(connection)
        return RowFault(state.place, state.lines.number, None, problem)

    def _drop(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._open[connection]
        connection.close()


def _reply(connection: socket.socket, line: bytes) -> None:
    """Send a short line without waiting; one that has gone, or reads nothing, does without."""
    try:
        connection.send(line, socket.MSG_NOSIGNAL)
    except OSError:
        # Its end is seen when it is read next.
        return


def _bare(host: str) -> str:
    """Return a host without brackets."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _loopback(host: str) -> str:
    """Validate a loopback host and return it without brackets."""
    bare = _bare(host)
    if is_loopback(bare):
        return bare
    raise ConfigError(
        f"rows are accepted on loopback only, got {host!r}: give a token with --token-file, or "
        "listen on tcp:127.0.0.1:PORT and forward the port, for example with ssh -R"
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

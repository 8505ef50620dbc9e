"""Outputs of an agent: where its lines go, without ever blocking a reading."""

from __future__ import annotations

import errno
import os
import socket
import stat
from abc import ABC, abstractmethod

from cis490_pipeline.collect.outputs.greeting import Greeting, GreetingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cis490_pipeline.collect.outputs.outbox import Outbox

    Endpoint = tuple[str, int]

NS_PER_S = 1_000_000_000
FIRST_WAIT_NS = NS_PER_S // 5
LONGEST_WAIT_NS = 10 * NS_PER_S
GREETING_NS = 10 * NS_PER_S
"""Time that a receiver has to accept a connection."""
STEADY_NS = 10 * NS_PER_S
"""A connection that lasted this long was a good one: the next attempt comes soon."""
NEVER_NS = 1 << 63
PIPE_BYTES = 4096
"""What a pipe that can be written takes without blocking (PIPE_BUF of Linux)."""
_SOCKET_BYTES = 1 << 16
_REPLY_BYTES = 1 << 12
_NOT_NOW = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)


class Output(ABC):
    """An output that connects, and connects again by itself: .2 s after a loss, at most 10 s.

    Attributes
    ----------
    name : as the user wrote it.
    problem : why it is not open; None while it is.
    gone : whether it is gone for good, and nothing is left to do.
    n_opened : times it was opened so far.
    due_ns : monotonic time at which `tend` has something to do again.
    """

    piece_bytes = _SOCKET_BYTES

    def __init__(self, name: str) -> None:
        self.name = name
        self.problem: str | None = None
        self.gone = False
        self.n_opened = 0
        self.due_ns = 0
        self._wait_ns = FIRST_WAIT_NS
        self._opened_ns: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether lines can be written."""
        return self._opened_ns is not None

    def holds(self, now_ns: int) -> bool:
        """Whether it has been open for a second: a receiver that refuses does so at once."""
        return self._opened_ns is not None and now_ns - self._opened_ns >= NS_PER_S

    @abstractmethod
    def tend(self, now_ns: int) -> None:
        """Open it if that is due; what comes then is seen by `is_open` and `problem`."""

    def send(self, outbox: Outbox, now_ns: int) -> None:
        """Use the room there is: write the next lines, as far as they go."""
        try:
            outbox.sent(self._write(outbox.piece(self.piece_bytes)))
        except OSError as fault:
            if fault.errno not in _NOT_NOW:
                # What a receiver sent before it closed says why.
                self.read(now_ns)
                if self.is_open:
                    self._broke(reason_of(fault), now_ns)

    def read(self, now_ns: int) -> None:  # noqa: B027 -- most places send nothing back
        """Take what a receiver sends back."""

    def to_read(self) -> int | None:
        """File descriptor to wait for input on."""
        return None

    @abstractmethod
    def to_write(self, pending: bool) -> int | None:
        """File descriptor to wait for room on, given whether lines wait."""

    def close(self) -> None:  # noqa: B027 -- standard output stays open
        """Close it."""

    @abstractmethod
    def _write(self, piece: bytes) -> int:
        """Write the beginning of a piece; return how many bytes went out."""

    def _opened(self, now_ns: int) -> None:
        self._opened_ns = now_ns
        self.n_opened += 1
        self.problem = None
        self.due_ns = NEVER_NS

    def _broke(self, problem: str, now_ns: int) -> None:
        """Close what is open, and choose the time of the next attempt."""
        if self._opened_ns is not None and now_ns - self._opened_ns >= STEADY_NS:
            self._wait_ns = FIRST_WAIT_NS
        self.close()
        self._opened_ns = None
        self.problem = problem
        self.due_ns = now_ns + self._wait_ns
        self._wait_ns = min(2 * self._wait_ns, LONGEST_WAIT_NS)


class StandardOutput(Output):
    """Standard output: a pipe, a file or a terminal.

    It is not made non-blocking, which would change it for every process that shares it; a piece of
    4 KiB goes into a pipe with room without blocking.
    """

    piece_bytes = PIPE_BYTES

    def __init__(self, fd: int = 1) -> None:
        super().__init__("standard output")
        self._fd = fd

    def tend(self, now_ns: int) -> None:
        """Take it for open again after a fault such as a full disk."""
        if not self.is_open and now_ns >= self.due_ns:
            self._opened(now_ns)
            # It is the same stream: a line that a full disk cut goes on where it was cut.
            self.n_opened = 1

    def to_write(self, pending: bool) -> int | None:
        """File descriptor, while lines wait."""
        return self._fd if pending and self.is_open else None

    def _write(self, piece: bytes) -> int:
        try:
            return os.write(self._fd, piece)
        except BrokenPipeError:
            self.gone = True
            raise


class SerialPort(Output):
    """A serial port, or a virtio port of a virtual machine; written only."""

    piece_bytes = PIPE_BYTES

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self._path = path
        self._fd: int | None = None

    def tend(self, now_ns: int) -> None:
        """Open the device."""
        if self.is_open or now_ns < self.due_ns:
            return
        try:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            if not stat.S_ISCHR(os.fstat(self._fd).st_mode):
                raise OSError(errno.ENOTTY, "is no character device")
            _set_raw(self._fd)
        except OSError as fault:
            self._broke(reason_of(fault), now_ns)
        else:
            self._opened(now_ns)

    def to_write(self, pending: bool) -> int | None:
        """File descriptor, while lines wait."""
        return self._fd if pending and self.is_open else None

    def close(self) -> None:
        """Close the device."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _write(self, piece: bytes) -> int:
        assert self._fd is not None
        return os.write(self._fd, piece)


class SocketOutput(Output):
    """A connection to a receiver that listens: a Unix socket, or TCP with a shared token.

    Parameters
    ----------
    name : as the user wrote it.
    address : a path, or host and port.
    token : secret shared with the receiver; None sends rows unasked.
    on_connect : called with the two ends of each TCP connection as soon as it is attempted.
    """

    def __init__(
        self,
        name: str,
        address: str | tuple[str, int],
        *,
        token: bytes | None = None,
        on_connect: Callable[[Endpoint, Endpoint], None] | None = None,
    ) -> None:
        super().__init__(name)
        self._address = address
        self._token = token
        self.on_connect = on_connect
        self._socket: socket.socket | None = None
        self._connected = False
        self._greeting: Greeting | None = None
        self._replies = b""

    def tend(self, now_ns: int) -> None:
        """Connect, or give up an attempt that got no answer in time."""
        if self.is_open or now_ns < self.due_ns:
            return
        if self._socket is not None:
            missing = "no connection" if not self._connected else "no challenge: it has no token"
            self._broke(f"got {missing} in {GREETING_NS // NS_PER_S} s", now_ns)
            return
        self._replies = b""
        self._connected = False
        self._greeting = None if self._token is None else Greeting(self._token)
        try:
            self._socket = self._start()
        except OSError as fault:
            self._broke(reason_of(fault), now_ns)
            return
        self.due_ns = now_ns + GREETING_NS

    def to_read(self) -> int | None:
        """File descriptor of a connection: its receiver may answer, refuse or go."""
        return self._socket.fileno() if self._socket is not None and self._connected else None

    def to_write(self, pending: bool) -> int | None:
        """File descriptor, while it is being connected or lines wait."""
        if self._socket is None or (self._connected and not (self.is_open and pending)):
            return None
        return self._socket.fileno()

    def read(self, now_ns: int) -> None:
        """Take an answer: a challenge, an acceptance, a refusal, or the end."""
        if self._socket is None:
            return
        try:
            piece = self._socket.recv(_REPLY_BYTES)
        except OSError as fault:
            if fault.errno not in _NOT_NOW:
                self._broke(reason_of(fault), now_ns)
            return
        if not piece:
            self._broke("was closed by the receiver", now_ns)
            return
        self._replies = (self._replies + piece)[:_REPLY_BYTES]
        *lines, self._replies = self._replies.split(b"\n")
        for line in lines:
            self._answer(self._socket, line, now_ns)

    def send(self, outbox: Outbox, now_ns: int) -> None:
        """Write lines; before that, find out whether the connection stands or failed."""
        if self._socket is None:
            return
        if self._connected:
            super().send(outbox, now_ns)
            return
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._broke(os.strerror(code), now_ns)
            return
        self._connected = True
        if self._greeting is None:
            self._opened(now_ns)

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _write(self, piece: bytes) -> int:
        assert self._socket is not None
        return self._socket.send(piece, socket.MSG_NOSIGNAL)

    def _answer(self, connection: socket.socket, line: bytes, now_ns: int) -> None:
        if self._socket is not connection:
            # Refused by the line before.
            return
        try:
            if self._greeting is None or self._greeting.done:
                raise GreetingError(refusal(line))
            reply = self._greeting.take(line)
            if reply:
                connection.sendall(reply)
            else:
                self._opened(now_ns)
        except GreetingError as refused:
            self._broke(str(refused), now_ns)
        except OSError as fault:
            self._broke(reason_of(fault), now_ns)

    def _start(self) -> socket.socket:
        """Begin to connect, without waiting."""
        if isinstance(self._address, str):
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            address: tuple[object, ...] | str = self._address
        else:
            host, port = self._address
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            made = socket.socket(found[0][0], socket.SOCK_STREAM)
            address = found[0][4]
        try:
            made.setblocking(False)
            code = made.connect_ex(address)
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, os.strerror(code))
            if self.on_connect is not None and not isinstance(self._address, str):
                self.on_connect(made.getsockname()[:2], (str(address[0]), self._address[1]))
        except BaseException:
            made.close()
            raise
        return made


def refusal(line: bytes) -> str:
    """Return what a receiver that sends a line unasked means."""
    text = line[:200].decode("utf-8", "replace")
    if text.startswith("CIS490 "):
        return "the receiver wants a token: give it with --token-file"
    kind, _, why = text.partition(" ")
    shown = "".join(c if c.isprintable() else "?" for c in (why if kind == "NO" else text))
    return f"was refused: {shown}"


def reason_of(fault: OSError) -> str:
    """Return the system's words for a fault."""
    return fault.strerror or str(fault)


def _set_raw(fd: int) -> None:
    """Keep a terminal's driver from changing line ends; a virtio port has no such driver."""
    if not os.isatty(fd):
        return
    import tty

    tty.setraw(fd)

"""Limits on connections: their number, idle time and the time of a request's head.

aiohttp limits none of these, and logs a traceback for input that is not HTTP.
"""

import asyncio
import contextlib
import resource
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from aiohttp import web

from cis490_pipeline.dashboard.server.answers import HEADERS, refusal, standalone

SWEEP_S: Final = 1.0
_OTHER_FILES: Final = 64
"""File descriptors reserved for other uses."""
_LEAST: Final = 16


class Connection(web.RequestHandler):
    """Connection of a browser or a producer."""

    def __init__(self, pool: "Connections", server: web.Server) -> None:
        loop = asyncio.get_running_loop()
        # Bodies are never decompressed: anyone could demand that work.
        super().__init__(
            server,
            loop=loop,
            auto_decompress=False,
            lingering_time=1.0,
            keepalive_timeout=2 * pool.idle_s,
        )
        self._pool = pool
        self._clock = loop.time
        self._idle_since = self._clock()
        self._head_since: float | None = self._idle_since
        self._at_work = False
        self.address = ""

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Mark a request as being handled, which suspends the time limits here."""
        self._at_work = True
        self._head_since = None
        try:
            yield
        finally:
            self._at_work = False
            self._idle_since = self._clock()

    def is_overdue(self, now: float) -> bool:
        """Whether the peer exceeded a time limit."""
        if self._at_work:
            return False
        if self._head_since is not None:
            return now - self._head_since > self._pool.head_s
        return now - self._idle_since > self._pool.idle_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection, unless there are too many."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        refused = self._pool.refuses(self)
        if refused is not None and self.transport is not None:
            self.transport.write(refused)
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Release the connection."""
        self._pool.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass on data, and start the time limit of a request's head."""
        if not self._at_work and self._head_since is None:
            self._head_since = self._clock()
        super().data_received(data)

    def abort(self) -> None:
        """Close at once, dropping unsent data."""
        if self.transport is not None:
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer invalid requests and internal errors as JSON."""
        if status < 500:
            first = (message or "").partition("\n")[0]
            answer = refusal(status, f"this is no HTTP request: {first[:100]}")
        else:
            self.log_exception("Error handling a request", exc_info=exc)
            answer = refusal(status, "internal error of the dashboard; see its log")
        answer.headers.update(HEADERS)
        answer.force_close()
        return answer


class Connections:
    """All connections of one dashboard, in total and of each address at most so many.

    The total is lower if the process may open fewer files. A request's head may take ``head_s``,
    and ``idle_s`` may pass between two requests.
    """

    def __init__(self, *, most: int, most_each: int, head_s: float, idle_s: float) -> None:
        self.most = max(_LEAST, min(most, _allow_files(most + _OTHER_FILES) - _OTHER_FILES))
        self.most_each = most_each
        self.head_s = head_s
        self.idle_s = idle_s
        self._open: set[Connection] = set()
        self._of: Counter[str] = Counter()

    def factory(self, server: web.Server) -> Callable[[], Connection]:
        """Return the protocol factory for accepted connections."""
        return lambda: Connection(self, server)

    def refuses(self, connection: Connection) -> bytes | None:
        """Register a connection; return an error response if there are too many."""
        if len(self._open) >= self.most:
            return standalone(503, "too many connections")
        if self._of[connection.address] >= self.most_each:
            return standalone(503, "too many connections from this address")
        self._open.add(connection)
        self._of[connection.address] += 1
        return None

    def forget(self, connection: Connection) -> None:
        """Unregister a connection."""
        if connection in self._open:
            self._open.remove(connection)
            self._of[connection.address] -= 1
            if not self._of[connection.address]:
                del self._of[connection.address]

    async def sweep(self) -> None:
        """Close overdue connections periodically, until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(min(SWEEP_S, self.head_s / 2))
            now = clock()
            for connection in [c for c in self._open if c.is_overdue(now)]:
                connection.abort()


def _allow_files(wanted: int) -> int:
    """Raise the limit of open files as far as allowed, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return wanted

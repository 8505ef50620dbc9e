"""Servers in a machine's network namespace: they accept, answer a little, and keep nothing."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
DOWNLOAD_PORT, TELNET_PORT = 5201, 23
DISCARD_PORTS: Final = (9, 80, 443, 4444, 8080)
DATAGRAM_PORTS: Final = (53, 5004)
MAX_DOWNLOAD: Final = 1 << 30
_LIMIT_S: Final = 60.0
_PIECE: Final = bytes(65536)


async def _discard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read everything; answer the first bytes, as a server would."""
    if await reader.read(65536):
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        while await reader.read(65536):
            pass


async def _login(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ask for a name and refuse it."""
    writer.write(b"login: ")
    await reader.read(1024)
    writer.write(b"Login incorrect\r\n")


async def _download(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send as many bytes as the first line asks for."""
    line = await reader.readline()
    left = min(int(line), MAX_DOWNLOAD) if line.strip().isdigit() else 0
    while left > 0:
        writer.write(_PIECE[: min(left, len(_PIECE))])
        await writer.drain()
        left -= len(_PIECE)


def _limited(serve: Serve) -> Serve:
    """Bound one connection in time, and end it whatever the guest sent."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, ValueError, TimeoutError):
                async with asyncio.timeout(_LIMIT_S):
                    await serve(reader, writer)
        finally:
            writer.close()

    return handler


async def main() -> None:
    """Listen on every port, print ``ready`` and serve until killed."""
    handlers: dict[int, Serve] = {TELNET_PORT: _login, DOWNLOAD_PORT: _download}
    handlers |= dict.fromkeys(DISCARD_PORTS, _discard)
    servers = [
        await asyncio.start_server(_limited(serve), "0.0.0.0", port, backlog=512)  # noqa: S104
        for port, serve in handlers.items()
    ]
    loop = asyncio.get_running_loop()
    for port in DATAGRAM_PORTS:
        await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol,
            local_addr=("0.0.0.0", port),  # noqa: S104
        )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main())

"""A machine without QEMU: its three sockets, answered in this process."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
GUEST_BOOT_S = 12.0
GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}}, "capabilities": []}}


def guest_mono_ns() -> int:
    """The guest's monotonic clock: the host's, from the guest's boot on."""
    return time.monotonic_ns() - BOOT_NS


BOOT_NS = time.monotonic_ns() - round(GUEST_BOOT_S * 1e9)


class FakeMachine:
    """Load runner, agent and QMP server on Unix sockets.

    Parameters
    ----------
    folder : where the sockets are made.
    reply : given a request and the usual answer, returns the answer to send; None sends none.
    row : makes the agent's row number n; None sends none.
    """

    def __init__(
        self,
        folder: Path,
        reply: Callable[[dict[str, Any], dict[str, Any]], Any] = lambda request, usual: usual,
        row: Callable[[int], Any] | None = None,
    ) -> None:
        self.folder, self._reply, self._row = folder, reply, row or agent_row
        self.requests: list[dict[str, Any]] = []
        self._servers: list[asyncio.Server] = []
        self._serving: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> Self:
        for name, serve in (("control", self._control), ("rows", self._rows), ("qmp", self._qmp)):
            handler = self._tracked(serve)
            server = await asyncio.start_unix_server(handler, self.folder / name)
            self._servers.append(server)
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _tracked(self, serve: Serve) -> Serve:
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task
            self._serving.append(task)
            try:
                with suppress(ConnectionError, asyncio.CancelledError):
                    await serve(reader, writer)
            finally:
                writer.close()
                writer.transport.abort()

        return handler

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(line({"event": "ready", **clock()}))
        while request_line := await reader.readline():
            request = json.loads(request_line)
            self.requests.append(request)
            usual = {"id": request["id"], "pid": 99, **clock()}
            if (answer := self._reply(request, usual)) is not None:
                writer.write(answer if isinstance(answer, bytes) else line(answer))

    async def _rows(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0
        while not reader.at_eof():
            row = self._row(number)
            writer.write(row if isinstance(row, bytes) else line(row))
            number += 1
            await writer.drain()
            await asyncio.sleep(0.2)

    async def _qmp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(line(GREETING))
        n = 0
        # The client ends no request by a newline; it waits for each answer before the next.
        while content := await reader.read(65536):
            request = json.loads(content)
            n += 1
            answers: dict[str, Any] = {
                "qmp_capabilities": {},
                "query-version": GREETING["QMP"]["version"],
                "query-kvm": {"enabled": False, "present": True},
                "query-blockstats": [block_statistics(n), block_statistics(1)],
            }
            answer = {"return": answers[request.pop("execute")]}
            writer.write(line({**answer, **request}))


def block_statistics(n: int) -> dict[str, Any]:
    return {
        "device": "disk",
        "stats": {
            "rd_bytes": 512 * n,
            "wr_bytes": 1024 * n,
            "rd_operations": n,
            "wr_operations": 2 * n,
            "flush_operations": 3 * n,
        },
    }


def clock() -> dict[str, int]:
    return {"t_guest_wall_ns": time.time_ns(), "t_guest_mono_ns": guest_mono_ns()}


def agent_row(number: int) -> dict[str, Any]:
    """A guest row as the agent sends it, by the guest's clocks."""
    return {
        "t_wall_ns": time.time_ns(),
        "t_mono_ns": guest_mono_ns(),
        "source": "guest_agent",
        "available_in_deployment": True,
        "cpu_user": 100 + number,
        "ctxt": 1000 * number,
        "load_1m": 0.25,
    }


def line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"

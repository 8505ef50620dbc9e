"""HTTP server of the dashboard: routes, start and stop."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

from cis490_pipeline import __version__
from cis490_pipeline.dashboard.access.door import Door
from cis490_pipeline.dashboard.access.guard import Limits, add_headers, guard
from cis490_pipeline.dashboard.access.rules import Access
from cis490_pipeline.dashboard.server.answers import refusal
from cis490_pipeline.dashboard.server.body import read_body
from cis490_pipeline.dashboard.server.connections import Connections
from cis490_pipeline.dashboard.server.files import load_files
from cis490_pipeline.dashboard.server.pages import Pages
from cis490_pipeline.dashboard.server.stream import stream
from cis490_pipeline.dashboard.state.current import State
from cis490_pipeline.dashboard.state.hub import Hub
from cis490_pipeline.dashboard.state.journal import Journal
from cis490_pipeline.errors import ConfigError, StateNotKeptError
from cis490_pipeline.events.contract import decode, json_schema

DEFAULT_PORT: Final = 8447
JSON: Final = "application/json"


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """One dashboard: access rules, event hub and limits."""

    access: Access
    hub: Hub
    limits: Limits = field(default_factory=Limits)

    def application(self) -> web.Application:
        """Build the aiohttp application, which sends frames while it runs."""
        door = Door(self.access, self.limits)
        pages = Pages(self.access, door, self.limits, load_files())
        app = web.Application(
            middlewares=[guard(self.access, self.limits)], client_max_size=self.limits.body_bytes
        )
        app.on_response_prepare.append(add_headers)
        app.cleanup_ctx.append(self._running)
        app.on_shutdown.append(self._end_streams)
        schema = msgspec.json.encode(json_schema())

        async def serve_schema(_request: web.Request) -> web.Response:
            return web.Response(body=schema, content_type="application/schema+json")

        async def health(request: web.Request) -> web.Response:
            refused = door.refuses(request, sessions=True)
            if refused is not None and refused.status != 401:
                return refused
            return self._health(detailed=refused is None)

        async def events(request: web.Request) -> web.StreamResponse:
            if (refused := door.refuses(request, sessions=True)) is not None:
                return refused
            return await stream(request, self.hub, self.limits)

        async def publish(request: web.Request) -> web.Response:
            # Cookies do not authorize publishing, so that no page can make a browser publish.
            refused = door.refuses(request, sessions=False)
            return await self._publish(request) if refused is None else refused

        app.router.add_get("/", pages.page)
        app.router.add_get("/static/{name:.+}", pages.file)
        app.router.add_get("/events", events, allow_head=False)
        app.router.add_get("/healthz", health)
        app.router.add_get("/schema/events-v1.json", serve_schema)
        app.router.add_post("/publish", publish)
        app.router.add_post("/login", pages.log_in)
        return app

    async def _publish(self, request: web.Request) -> web.Response:
        body = await read_body(request, self.limits, JSON, self.limits.body_bytes)
        if isinstance(body, web.Response):
            return body
        try:
            events = decode(body)
        except msgspec.DecodeError as error:
            return refusal(422, str(error))
        try:
            delivery = self.hub.publish(events)
        except StateNotKeptError as error:
            return refusal(507 if error.no_room else 503, str(error), **{"Retry-After": "5"})
        answer = {"delivered": delivery.delivered}
        if delivery.duplicates:
            answer["duplicates"] = delivery.duplicates
        if delivery.left_out:
            answer["left_out"] = delivery.left_out
        return web.Response(body=msgspec.json.encode(answer), content_type=JSON)

    def _health(self, *, detailed: bool) -> web.Response:
        hub = self.hub
        status = "degraded" if hub.journal_fault else "ok"
        kept = {name: {"events": n, "bytes": size} for name, n, size in hub.state.kept()}
        about = {"version": __version__, "epoch": hub.epoch, **hub.status(), "kept": kept}
        blocked = {"stalled": hub.n_stalled, "overflows": hub.n_overflows}
        answer = {"status": status, **about, **blocked} if detailed else {"status": status}
        return web.Response(
            body=msgspec.json.encode(answer),
            content_type=JSON,
            headers={"Cache-Control": "no-store"},
        )

    async def _running(self, _app: web.Application) -> AsyncIterator[None]:
        stop = asyncio.Event()
        keeping = asyncio.create_task(self.hub.keep(stop))
        ticking = asyncio.create_task(self.hub.run())
        yield
        stop.set()
        await keeping
        ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticking

    async def _end_streams(self, _app: web.Application) -> None:
        self.hub.close()


async def serve(
    dashboard: Dashboard,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    ready: Callable[[int], None],
    stop: asyncio.Event,
) -> None:
    """Serve until stopped; ``ready`` is called with the port (any, if it is 0) once it listens.

    Raises `ConfigError` if it cannot listen there.
    """
    runner = web.AppRunner(
        dashboard.application(), access_log=None, handler_cancellation=True, shutdown_timeout=2.0
    )
    await runner.setup()
    limits = dashboard.limits
    connections = Connections(
        most=limits.browsers + limits.further,
        most_each=limits.browsers + limits.further // 2,
        head_s=limits.head_s,
        idle_s=limits.idle_s,
    )
    listening: asyncio.Server | None = None
    try:
        listening = await _listen(connections, runner, dashboard.access.host, port, tls)
        sweeping = asyncio.create_task(connections.sweep())
        ready(listening.sockets[0].getsockname()[1])
        await stop.wait()
        sweeping.cancel()
    finally:
        if listening is not None:
            listening.close()
        await runner.cleanup()


async def _listen(
    connections: Connections,
    runner: web.AppRunner,
    host: str,
    port: int,
    tls: ssl.SSLContext | None,
) -> asyncio.Server:
    assert runner.server is not None, "set up before"
    loop = asyncio.get_running_loop()
    wait_s = connections.head_s if tls else None
    try:
        return await loop.create_server(
            connections.factory(runner.server),
            host,
            port,
            ssl=tls,
            ssl_handshake_timeout=wait_s,
            ssl_shutdown_timeout=wait_s,
        )
    except OSError as error:
        raise ConfigError(
            f"{host}:{port}: cannot listen there ({error.strerror}); is a dashboard running "
            "already? --port takes another port"
        ) from error


def open_hub(state_file: Path | None, *, fresh: bool = False) -> tuple[Hub, Journal | None]:
    """Return a hub restored from a state file, and its journal; with ``fresh`` the hub is empty."""
    state = State()
    journal = None if state_file is None else Journal(state_file, state, fresh=fresh)
    return Hub(state, journal), journal

"""A dashboard in this process, and a reader of its streams."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientResponse, ClientSession, CookieJar

from cis490_pipeline.dashboard.access.guard import Limits
from cis490_pipeline.dashboard.access.rules import Access
from cis490_pipeline.dashboard.server.app import Dashboard, serve
from cis490_pipeline.dashboard.state.current import State
from cis490_pipeline.dashboard.state.hub import Hub
from cis490_pipeline.events.contract import Event, encode

PATIENCE_S = 20.0
METRIC = {"type": "model_metric", "model": "gbt_realistic", "accuracy": 0.5}


def now(test: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine to its end, or fail when it hangs."""

    async def limited() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await test()

    asyncio.run(limited())


@dataclass
class Client:
    """A client of a dashboard that listens on a port of its own."""

    session: ClientSession
    port: int
    hub: Hub

    def __post_init__(self) -> None:
        self.get = self.session.get
        self.post = self.session.post
        self.request = self.session.request
        self.options = self.session.options

    @property
    def server(self) -> "Client":
        return self

    def make_url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@asynccontextmanager
async def dashboard(
    access: Access | None = None, limits: Limits | None = None, hub: Hub | None = None
) -> AsyncIterator[Client]:
    """Serve a dashboard as the command does."""
    served = Dashboard(
        access=access or Access(), hub=hub or Hub(State()), limits=limits or Limits()
    )
    stop, listening = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(served, 0, ready=listening.set_result, stop=stop))
    await asyncio.wait([serving, listening], return_when=asyncio.FIRST_COMPLETED)
    port = await listening if listening.done() else await serving
    try:
        jar = CookieJar(unsafe=True)
        async with ClientSession(f"http://127.0.0.1:{port}", cookie_jar=jar) as session:
            yield Client(session, port, served.hub)
    finally:
        stop.set()
        await serving


async def publish(
    client: Client, *events: Event | dict[str, Any], **headers: str
) -> ClientResponse:
    """Publish events as a producer does."""
    body = (
        json.dumps(list(events)).encode()
        if all(isinstance(event, dict) for event in events)
        else encode(list(events))  # type: ignore[arg-type]
    )
    return await client.post(
        "/publish", data=body, headers={"Content-Type": "application/json", **headers}
    )


@dataclass
class Told:
    """One message of a stream."""

    event: str
    data: Any
    id: str | None = None


@dataclass
class Reader:
    """Reads a stream message by message."""

    response: ClientResponse
    seen: list[Told] = field(default_factory=list)

    async def next(self) -> Told | None:
        """The next message; ``None`` at the stream's end."""
        fields: dict[str, str] = {}
        while line := (await self.response.content.readline()).decode():
            name, _, value = line.rstrip("\n").partition(": ")
            if line != "\n":
                fields[name] = value
            elif "data" in fields:
                told = Told(
                    fields.get("event", "message"), json.loads(fields["data"]), fields.get("id")
                )
                self.seen.append(told)
                return told
            else:
                fields = {}
        return None

    async def until(self, event: str) -> list[Told]:
        """All messages up to the next one of a kind, which is the last."""
        begun = len(self.seen)
        while (told := await self.next()) is not None and told.event != event:
            pass
        assert told is not None, f"the stream ended before {event}"
        return self.seen[begun:]

    async def events(self, n: int) -> list[dict[str, Any]]:
        """The next events, at least ``n``."""
        found: list[dict[str, Any]] = []
        while len(found) < n:
            found += (await self.until("message"))[-1].data
        return found


@asynccontextmanager
async def stream(client: Client, **headers: str) -> AsyncIterator[Reader]:
    """An open stream."""
    async with client.get("/events", headers=headers) as response:
        assert response.status == 200, await response.text()
        yield Reader(response)

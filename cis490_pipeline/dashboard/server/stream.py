"""``GET /events``: event stream of one browser."""

import asyncio

from aiohttp import web

from cis490_pipeline.dashboard.access.guard import Limits
from cis490_pipeline.dashboard.server.answers import refusal
from cis490_pipeline.dashboard.state.hub import Hub

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    # Tell proxies not to buffer messages.
    "X-Accel-Buffering": "no",
}


async def stream(request: web.Request, hub: Hub, limits: Limits) -> web.StreamResponse:
    """Write events until the browser disconnects or stalls, or the dashboard stops."""
    if hub.n_browsers >= limits.browsers:
        return refusal(
            503, f"{hub.n_browsers} browsers are connected already", **{"Retry-After": "30"}
        )
    response = web.StreamResponse(headers=_HEADERS)
    await response.prepare(request)
    with hub.attached() as browser:
        try:
            async for chunk in hub.messages(browser, request.headers.get("Last-Event-ID")):
                async with asyncio.timeout(limits.write_s):
                    await response.write(chunk)
        except TimeoutError:
            hub.n_stalled += 1
            if request.transport is not None:
                # Abort: closing would wait for the data that cannot be sent.
                request.transport.abort()
        except ConnectionError:
            # The browser disconnected, as every stream ends.
            return response
    return response

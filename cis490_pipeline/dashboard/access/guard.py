"""What every request passes, and what every response carries."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from cis490_pipeline.dashboard.access.rate import RateLimit
from cis490_pipeline.dashboard.access.rules import Access
from cis490_pipeline.dashboard.server.answers import HEADERS, refusal
from cis490_pipeline.dashboard.server.connections import Connection


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is taken from one address, and held for all of them."""

    body_bytes: int = 4 << 20
    """Of one request."""
    body_s: float = 10.0
    """To receive it."""
    browsers: int = 200
    """Open streams."""
    requests: RateLimit = field(default_factory=lambda: RateLimit(5_000, 10_000))
    bytes_in: RateLimit = field(default_factory=lambda: RateLimit(64 << 20, 128 << 20))
    wrong_tokens: RateLimit = field(default_factory=lambda: RateLimit(1 / 6, 10))
    """Of one address, before nothing it presents is compared."""
    all_wrong_tokens: RateLimit = field(default_factory=lambda: RateLimit(1.0, 100))
    """Of all addresses that did not have the right one of late."""
    head_s: float = 10.0
    """For a request's head to arrive."""
    idle_s: float = 60.0
    """Between two requests of a connection."""
    further: int = 512
    """Connections besides the streams; one address has at most half of them."""
    write_s: float = 30.0
    """For one write to a stream, before it is cut off."""


def address_of(request: web.Request) -> str:
    """Return the address a request comes from; no header is believed."""
    return request.remote or "unknown"


def guard(access: Access, limits: Limits) -> Middleware:
    """Return the middleware that turns away what was not meant for this dashboard."""
    # A producer names the same host every time; who names many only loses what was remembered.
    knows_host = functools.lru_cache(maxsize=64)(access.knows_host)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = _refused(request, access, knows_host, limits)
        if refused is not None:
            # What is still to be sent is not read: it could be anything.
            refused.force_close()
            return refused
        try:
            return await _served(request, handler)
        except web.HTTPException as error:
            # aiohttp's own (no such page, no such method) as JSON like all others.
            headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            return refusal(error.status, error.reason, **headers)

    return check


async def _served(request: web.Request, handler: Handler) -> web.StreamResponse:
    connection = request.protocol
    if not isinstance(connection, Connection):
        return await handler(request)
    with connection.at_work():
        return await handler(request)


def _refused(
    request: web.Request,
    access: Access,
    knows_host: Callable[[str, int], bool],
    limits: Limits,
) -> web.Response | None:
    headers = request.headers
    hosts = headers.getall("Host", [])
    socket = request.transport.get_extra_info("sockname") if request.transport else None
    port = socket[1] if socket else 0
    if len(hosts) != 1 or not knows_host(hosts[0], port):
        return refusal(
            421, "this Host is not the dashboard's; if it should be, name it with --name"
        )
    origins = headers.getall("Origin", [])
    if any(not access.knows_origin(origin, hosts[0]) for origin in origins):
        return refusal(403, "requests from pages of other sites are not answered")
    if headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"} and not (
        request.method == "GET" and headers.get("Sec-Fetch-Mode") == "navigate"
    ):
        return refusal(403, "requests from pages of other sites are not answered")
    if "Content-Encoding" in headers:
        # Before authentication: a few kilobytes may hold gigabytes.
        return refusal(415, "a body with a Content-Encoding is not read; send it as it is")
    if not limits.requests.allows(address_of(request)):
        return refusal(429, "too many requests from this address", **{"Retry-After": "1"})
    return None


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Put the headers on a response that is about to begin."""
    response.headers.update(HEADERS)

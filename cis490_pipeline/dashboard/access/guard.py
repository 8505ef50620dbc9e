"""Middleware: checks of every request, headers of every response, limits."""

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
    """Limits per address and in total."""

    body_bytes: int = 4 << 20
    """Bytes of one request's body."""
    body_s: float = 10.0
    """Seconds to receive it."""
    browsers: int = 200
    """Open event streams."""
    requests: RateLimit = field(default_factory=lambda: RateLimit(5_000, 10_000))
    bytes_in: RateLimit = field(default_factory=lambda: RateLimit(64 << 20, 128 << 20))
    wrong_tokens: RateLimit = field(default_factory=lambda: RateLimit(1 / 6, 10))
    """Wrong tokens of one address, beyond which nothing it sends is compared."""
    all_wrong_tokens: RateLimit = field(default_factory=lambda: RateLimit(1.0, 100))
    """Wrong tokens of all addresses without a recent right one."""
    head_s: float = 10.0
    """Seconds for a request's head to arrive."""
    idle_s: float = 60.0
    """Seconds between two requests of a connection."""
    further: int = 512
    """Connections besides streams; one address gets at most half of them."""
    write_s: float = 30.0
    """Seconds for one write to a stream, before it is cut off."""


def address_of(request: web.Request) -> str:
    """Return the peer address of a request; forwarding headers are not trusted."""
    return request.remote or "unknown"


def guard(access: Access, limits: Limits) -> Middleware:
    """Return the middleware that refuses requests not meant for this dashboard."""
    # A producer always sends the same Host; an attacker with many only empties the cache.
    knows_host = functools.lru_cache(maxsize=64)(access.knows_host)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = _refused(request, access, knows_host, limits)
        if refused is not None:
            # Close: the rest of the request is not read.
            refused.force_close()
            return refused
        try:
            return await _served(request, handler)
        except web.HTTPException as error:
            # aiohttp's own errors (404, 405) as JSON, like all others.
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
    request: web.Request, access: Access, knows_host: Callable[[str, int], bool], limits: Limits
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
        # Checked before authentication: a few kilobytes may decompress to gigabytes.
        return refusal(415, "a body with a Content-Encoding is not read; send it as it is")
    if not limits.requests.allows(address_of(request)):
        return refusal(429, "too many requests from this address", **{"Retry-After": "1"})
    return None


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Add the security headers to a response before it is sent."""
    response.headers.update(HEADERS)

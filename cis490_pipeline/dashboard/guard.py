"""What every request passes, and what every response carries."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from cis490_pipeline.dashboard.access import Access
from cis490_pipeline.dashboard.rate import RateLimit

# lit-html makes one policy of trusted types, which only its own templates pass through.
CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types lit-html",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not no-referrer: with that a browser's form says its origin is null.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Server": "cis490",
}


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
    write_s: float = 30.0
    """For one write to a stream, before it is cut off."""


def refusal(status: int, why: str, **headers: str) -> web.Response:
    """Return an error as JSON; the text may hold what was sent, so it is cut."""
    return web.Response(
        status=status,
        body=msgspec.json.encode({"error": why[:300]}),
        content_type="application/json",
        headers={"Cache-Control": "no-store", **headers},
    )


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
            return await handler(request)
        except web.HTTPException as error:
            # aiohttp's own (no such page, no such method) as JSON like all others.
            headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            return refusal(error.status, error.reason, **headers)

    return check


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
    if not limits.requests.allows(address_of(request)):
        return refusal(429, "too many requests from this address", **{"Retry-After": "1"})
    return None


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Put the headers on a response that is about to begin."""
    response.headers.update(HEADERS)

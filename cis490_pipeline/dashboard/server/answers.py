"""Refusals, and the headers of every answer."""

from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

# lit-html makes one policy of trusted types, which only its own templates pass through; the page
# another, which knows one address: that of the worker all tabs share.
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
        "trusted-types lit-html shared",
    )
)
HEADERS: Final[dict[str, str]] = {
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


def refusal(status: int, why: str, **headers: str) -> web.Response:
    """Return an error as JSON; the text may hold what was sent, so it is cut."""
    return web.Response(
        status=status,
        body=msgspec.json.encode({"error": why[:300]}),
        content_type="application/json",
        headers={"Cache-Control": "no-store", **headers},
    )


def standalone(status: int, why: str) -> bytes:
    """Return a whole refusal as it goes over the wire, for who gets no request of theirs read."""
    body = msgspec.json.encode({"error": why})
    fields = {
        **HEADERS,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "Retry-After": "5",
        "Connection": "close",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{head}\r\n".encode() + body

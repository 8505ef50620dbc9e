"""Error responses, and the security headers of every response."""

from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

# Trusted types: lit-html's policy admits only its own templates; the page's policy admits one
# script address, that of the worker shared by all tabs.
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
    # Not no-referrer: it would make browsers submit forms with a null origin.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Server": "cis490",
}


def refusal(status: int, reason: str, **headers: str) -> web.Response:
    """Return an error as JSON; the text may quote the request, so it is truncated."""
    return web.Response(
        status=status,
        body=msgspec.json.encode({"error": reason[:300]}),
        content_type="application/json",
        headers={"Cache-Control": "no-store", **headers},
    )


def standalone(status: int, reason: str) -> bytes:
    """Return a complete HTTP error response as bytes, for connections whose request is not read."""
    body = msgspec.json.encode({"error": reason})
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

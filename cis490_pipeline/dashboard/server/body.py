"""Read request bodies within limits of type, size and time."""

import asyncio

from aiohttp import web

from cis490_pipeline.dashboard.access.guard import Limits, address_of
from cis490_pipeline.dashboard.server.answers import refusal


async def read_body(
    request: web.Request, limits: Limits, media_type: str, at_most: int
) -> bytes | web.Response:
    """Read an unread body of at most ``at_most`` bytes, or return its refusal.

    Only one media type is accepted; a foreign page cannot send JSON without a preflight.
    """
    refused = _unread(request, limits, media_type, at_most)
    if refused is None:
        if request.content.is_eof():
            # Most bodies arrive with the head: no need to wait.
            whole = request.content.read_nowait()
            return whole if len(whole) <= at_most else _too_long(at_most)
        body = bytearray()
        try:
            async with asyncio.timeout(limits.body_s):
                async for piece in request.content.iter_any():
                    body += piece
                    if len(body) > at_most:
                        refused = _too_long(at_most)
                        break
        except TimeoutError:
            refused = refusal(408, f"the body did not arrive within {limits.body_s:g} s")
        if refused is None:
            return bytes(body)
    # Close: the rest of the body is not read.
    refused.force_close()
    return refused


def _unread(
    request: web.Request, limits: Limits, media_type: str, at_most: int
) -> web.Response | None:
    if request.content_type != media_type:
        return refusal(415, f"Content-Type must be {media_type}")
    length = request.content_length
    if length is not None and length > at_most:
        return _too_long(at_most)
    # A body of unknown length is charged at the limit.
    if not limits.bytes_in.allows(address_of(request), at_most if length is None else length):
        return refusal(429, "too much data from this address", **{"Retry-After": "1"})
    return None


def _too_long(at_most: int) -> web.Response:
    return refusal(413, f"a body has at most {at_most} bytes")

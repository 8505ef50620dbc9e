"""Authentication: the one place where credentials of a request are compared with the token.

A wrong token, or a cookie made with one, counts against its address and against all addresses
together. After too many, nothing is compared until the wait is over, so that attempts meanwhile
reveal nothing. No route compares by itself; one that did would be an oracle.
"""

import functools
import hashlib
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from aiohttp import web

from cis490_pipeline.dashboard.access.guard import Limits, address_of
from cis490_pipeline.dashboard.access.rules import COOKIE, Access, Session
from cis490_pipeline.dashboard.server.answers import refusal

PROVEN_S: Final = 3600.0
"""Time for which an address with the right token is exempt from the limit of all addresses."""
MAX_REMEMBERED: Final = 1_024
_ALL: Final = "all"


class Door:
    """Compares credentials of requests, and rate-limits wrong ones."""

    def __init__(
        self, access: Access, limits: Limits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._access = access
        self._limits = limits
        self._clock = clock
        self._proven: OrderedDict[str, float] = OrderedDict()
        self._sessions: OrderedDict[bytes, None] = OrderedDict()

    def refuses(self, request: web.Request, *, sessions: bool) -> web.Response | None:
        """Return the refusal of a request; ``None`` if it is authenticated.

        Only headers are read. ``sessions`` says whether a browser's session cookie is accepted.
        """
        cookie = request.cookies.get(COOKIE, "") if sessions else ""
        if self._access.token is None or (cookie and self._remembers(cookie)):
            return None
        token = self._access.presented(request.headers.get("Authorization", ""))
        if not token and not self._access.is_session(cookie):
            # Nothing to compare, so nothing to count.
            return _unknown()
        refused = self.waits(request)
        if refused is None and not self._is_known(request, token, cookie):
            refused = _unknown()
        return refused

    def waits(self, request: web.Request) -> web.Response | None:
        """Return the refusal of an address that must wait before anything is compared."""
        limits, address = self._limits, _counted_as(address_of(request))
        wait_s = limits.wrong_tokens.wait_s(address)
        if self._clock() > self._proven.get(address, -math.inf) + PROVEN_S:
            wait_s = max(wait_s, limits.all_wrong_tokens.wait_s(_ALL))
        if wait_s == 0:
            return None
        again = str(math.ceil(wait_s))
        refused = refusal(
            429, f"too many wrong tokens; none is compared for {again} s", **{"Retry-After": again}
        )
        refused.force_close()
        return refused

    def opens(self, request: web.Request, given: str) -> bool:
        """Whether a submitted token is right; call only after ``waits``."""
        if not self._access.is_token(given):
            self._failed(request)
            return False
        self._succeeded(request)
        return True

    def new_session(self) -> str:
        """Return a session cookie for a browser that sent the token."""
        cookie = self._access.new_session()
        self._remember(cookie)
        return cookie

    def _is_known(self, request: web.Request, token: str, cookie: str) -> bool:
        if token and self._access.is_token(token):
            self._succeeded(request)
            return True
        session = self._access.session(cookie)
        if session is Session.GOOD:
            self._remember(cookie)
            return True
        if token or session is Session.FORGED:
            self._failed(request)
        return False

    def _failed(self, request: web.Request) -> None:
        self._limits.wrong_tokens.allows(_counted_as(address_of(request)))
        self._limits.all_wrong_tokens.allows(_ALL)

    def _succeeded(self, request: web.Request) -> None:
        address = _counted_as(address_of(request))
        self._proven[address] = self._clock()
        self._proven.move_to_end(address)
        if len(self._proven) > MAX_REMEMBERED:
            self._proven.popitem(last=False)

    def _remember(self, cookie: str) -> None:
        # Half of a cookie is random: a verified cookie cannot be guessed, even with the token, so
        # it is accepted without comparing signatures.
        self._sessions[_digest(cookie)] = None
        if len(self._sessions) > MAX_REMEMBERED:
            self._sessions.popitem(last=False)

    def _remembers(self, cookie: str) -> bool:
        return (
            _digest(cookie) in self._sessions and self._access.until(cookie) > self._access.clock()
        )


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).digest()


@functools.lru_cache(maxsize=1024)
def _counted_as(address: str) -> str:
    """Return the rate-limit key of an address: one IPv6 host owns a whole /64."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, 64), strict=False))


def _unknown() -> web.Response:
    refused = refusal(401, "a token is wanted", **{"WWW-Authenticate": "Bearer"})
    refused.force_close()
    return refused

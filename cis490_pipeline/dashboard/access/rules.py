"""Who may ask: the Host and Origin of a request, and the token of whoever is not on this machine.

Loopback needs no token: only programs of this machine reach it. A page of another site that a
browser here has open does reach it, by a name that resolves to 127.0.0.1 (DNS rebinding) or by
posting across; the checks of Host and Origin are against those.
"""

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import urlsplit

from cis490_pipeline.errors import ConfigError

MIN_TOKEN_LENGTH: Final = 16
SESSION_S: Final = 12 * 3600
COOKIE: Final = "cis490_session"
_NONCE: Final = 32
"""Characters of a cookie that are random."""
_LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Session(Enum):
    """What a browser's cookie is."""

    NONE = "none"
    """No cookie of ours, so that nothing was compared."""
    FORGED = "forged"
    """Made with another token: a guess, or from before the token was changed."""
    ENDED = "ended"
    GOOD = "good"


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a dashboard answers to.

    Raises
    ------
    ConfigError
        If it listens beyond this machine without a token, or the token is short.
    """

    host: str = "127.0.0.1"
    """Address it listens on."""
    token: str | None = None
    names: frozenset[str] = frozenset()
    """Further names it is reached by, each with a port if it is not the one it listens on."""
    tls: bool = False
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        """Refuse what would leave a door open."""
        if self.token is None and not _is_loopback(self.host):
            raise ConfigError(
                f"{self.host} is reached from other machines, so the dashboard needs a token: set "
                f"CIS490_DASHBOARD_TOKEN to at least {MIN_TOKEN_LENGTH} random characters, or "
                "listen on 127.0.0.1"
            )
        if self.token is not None and len(self.token) < MIN_TOKEN_LENGTH:
            raise ConfigError(
                f"CIS490_DASHBOARD_TOKEN has {len(self.token)} characters, at least "
                f"{MIN_TOKEN_LENGTH} are wanted; make one with "
                "`python -c 'import secrets; print(secrets.token_urlsafe())'`"
            )

    def knows_host(self, header: str, port: int) -> bool:
        """Whether a ``Host`` header names this dashboard, which was reached at a port."""
        scheme = "https" if self.tls else "http"
        try:
            parts = urlsplit(f"{scheme}://{header}")
            name, given = parts.hostname, parts.port or _DEFAULT_PORTS[scheme]
        except ValueError:
            return False
        if name is None or parts.netloc != header or "@" in header:
            return False
        if header.lower() in self.names:
            return True
        if given != port:
            return False
        # A literal address cannot be rebound to another; with a wildcard all of ours are right.
        return (
            name in self.names
            or name == self.host
            or (name in _LOOPBACK_NAMES and _listens_on_loopback(self.host))
            or (_is_wildcard(self.host) and _is_literal(name))
        )

    def knows_origin(self, origin: str, host: str) -> bool:
        """Whether a request comes from a page of this dashboard, given its known ``Host``."""
        return origin.lower() in {f"{scheme}://{host.lower()}" for scheme in _DEFAULT_PORTS}

    def presented(self, authorization: str) -> str:
        """Return the token that an ``Authorization`` header presents; empty if none."""
        scheme, _, given = authorization.partition(" ")
        return given.strip() if scheme.lower() == "bearer" else ""

    def is_token(self, given: str) -> bool:
        """Compare in a time that does not depend on where the texts differ."""
        wanted = hashlib.sha256((self.token or "").encode()).digest()
        found = hashlib.sha256(given.encode("utf-8", "replace")).digest()
        return self.token is not None and hmac.compare_digest(wanted, found)

    def new_session(self) -> str:
        """Return a cookie's value: when it ends, and a proof that this dashboard wrote it.

        No list of them is kept, so that a restart logs nobody out, and another token everybody.
        """
        return self._signed(int(self.clock()) + SESSION_S, secrets.token_hex(_NONCE // 2))

    def is_session(self, cookie: str) -> bool:
        """Whether a cookie has the form of one of ours."""
        return self.until(cookie) >= 0 and len(cookie.partition(".")[2]) > _NONCE

    def session(self, cookie: str) -> Session:
        """Tell what a browser's cookie is."""
        if self.token is None or not self.is_session(cookie):
            return Session.NONE
        until, _, proof = cookie.partition(".")
        signed = self._signed(int(until), proof[:_NONCE])
        if not hmac.compare_digest(signed.encode(), cookie.encode("utf-8", "replace")):
            return Session.FORGED
        return Session.GOOD if int(until) > self.clock() else Session.ENDED

    def until(self, cookie: str) -> int:
        """Return when a cookie says that it ends, s since 1970; -1 if it says nothing."""
        until = cookie.partition(".")[0]
        return int(until) if until.isascii() and until.isdecimal() and len(until) < 16 else -1

    def _signed(self, until: int, nonce: str) -> str:
        key = hashlib.sha256(b"session of " + (self.token or "").encode()).digest()
        text = f"{until}.{nonce}".encode("utf-8", "replace")
        return f"{until}.{nonce}{hmac.new(key, text, hashlib.sha256).hexdigest()}"


def _is_literal(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_literal(host) and ipaddress.ip_address(host).is_loopback)


def _is_wildcard(host: str) -> bool:
    return _is_literal(host) and ipaddress.ip_address(host).is_unspecified


def _listens_on_loopback(host: str) -> bool:
    return _is_loopback(host) or _is_wildcard(host)

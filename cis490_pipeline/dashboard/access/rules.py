"""Access rules: Host and Origin of every request, and a token beyond loopback.

Loopback needs no token: only programs of this machine reach it. A foreign page in a browser on this
machine reaches it too, through a name that resolves to 127.0.0.1 (DNS rebinding) or a cross-site
request; the checks of Host and Origin prevent both.
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

from cis490_pipeline.domain.hosts import is_ip_literal, is_loopback
from cis490_pipeline.errors import ConfigError

MIN_TOKEN_LENGTH: Final = 16
SESSION_S: Final = 12 * 3600
COOKIE: Final = "cis490_session"
_NONCE: Final = 32
"""Random characters of a cookie."""
_LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Session(Enum):
    """State of a browser's session cookie."""

    NONE = "none"
    """No session cookie, so nothing was compared."""
    FORGED = "forged"
    """Signed with another token: a guess, or an older token."""
    ENDED = "ended"
    GOOD = "good"


@dataclass(frozen=True, kw_only=True)
class Access:
    """Access settings of a dashboard: address, token, host names.

    Raises `ConfigError` if it listens beyond this machine without a token, or the token is short.
    """

    host: str = "127.0.0.1"
    """Address it listens on."""
    token: str | None = None
    names: frozenset[str] = frozenset()
    """Further host names, each with a port if it differs from the listening one."""
    tls: bool = False
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        """Refuse settings that would expose the dashboard without a proper token."""
        if self.token is None and not is_loopback(self.host):
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
        # An IP address cannot be rebound; with a wildcard all addresses of this machine are valid.
        return (
            name in self.names
            or name == self.host
            or (name in _LOOPBACK_NAMES and (is_loopback(self.host) or _is_wildcard(self.host)))
            or (_is_wildcard(self.host) and is_ip_literal(name))
        )

    def knows_origin(self, origin: str, host: str) -> bool:
        """Whether an ``Origin`` is this dashboard's own, given the verified ``Host``."""
        return origin.lower() in {f"{scheme}://{host.lower()}" for scheme in _DEFAULT_PORTS}

    def presented(self, authorization: str) -> str:
        """Return the bearer token of an ``Authorization`` header; empty if none."""
        scheme, _, given = authorization.partition(" ")
        return given.strip() if scheme.lower() == "bearer" else ""

    def is_token(self, given: str) -> bool:
        """Whether a text is the token, compared in constant time."""
        wanted = hashlib.sha256((self.token or "").encode()).digest()
        actual = hashlib.sha256(given.encode("utf-8", "replace")).digest()
        return self.token is not None and hmac.compare_digest(wanted, actual)

    def new_session(self) -> str:
        """Return a session cookie: its expiry, and a signature by this dashboard.

        Sessions are not stored: they survive a restart, and end when the token changes.
        """
        return self._signed(int(self.clock()) + SESSION_S, secrets.token_hex(_NONCE // 2))

    def is_session(self, cookie: str) -> bool:
        """Whether a cookie has the form of a session cookie."""
        return self.until(cookie) >= 0 and len(cookie.partition(".")[2]) > _NONCE

    def session(self, cookie: str) -> Session:
        """Verify a session cookie."""
        if self.token is None or not self.is_session(cookie):
            return Session.NONE
        until, _, proof = cookie.partition(".")
        signed = self._signed(int(until), proof[:_NONCE])
        if not hmac.compare_digest(signed.encode(), cookie.encode("utf-8", "replace")):
            return Session.FORGED
        return Session.GOOD if int(until) > self.clock() else Session.ENDED

    def until(self, cookie: str) -> int:
        """Return the expiry that a cookie states, s since 1970; -1 if none."""
        until = cookie.partition(".")[0]
        return int(until) if until.isascii() and until.isdecimal() and len(until) < 16 else -1

    def _signed(self, until: int, nonce: str) -> str:
        key = hashlib.sha256(b"session of " + (self.token or "").encode()).digest()
        text = f"{until}.{nonce}".encode("utf-8", "replace")
        return f"{until}.{nonce}{hmac.new(key, text, hashlib.sha256).hexdigest()}"


def _is_wildcard(host: str) -> bool:
    return is_ip_literal(host) and ipaddress.ip_address(host).is_unspecified

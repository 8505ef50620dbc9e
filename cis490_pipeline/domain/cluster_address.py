"""Validation of Dask addresses: code is sent only over TLS or loopback."""

from typing import Final
from urllib.parse import urlsplit

from cis490_pipeline.domain.hosts import is_loopback

_WANTED: Final = (
    "must be tls://HOST:PORT, or tcp://HOST:PORT on loopback, since a Dask cluster executes "
    "whatever it is sent"
)


def cluster_address(text: str) -> str:
    """Validate a Dask address: TLS, or plain TCP on loopback only.

    Raises `ValueError` if it is malformed or unprotected. The message does not repeat user info.
    """
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"{_WANTED}; got {text!r:.100}") from None
    if "@" in text:
        raise ValueError(f"{_WANTED}; got one with a user or a password in it")
    if parts.path or parts.query or parts.fragment or not host or not port:
        raise ValueError(f"{_WANTED}; got {text!r:.100}")
    if parts.scheme == "tls" or (parts.scheme == "tcp" and is_loopback(host)):
        return text.strip()
    raise ValueError(f"{_WANTED}; got {text!r:.100}")

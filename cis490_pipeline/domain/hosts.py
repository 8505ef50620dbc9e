"""Addresses that no other machine reaches, and addresses of servers."""

import ipaddress
from urllib.parse import urlsplit


def is_ip_literal(host: str) -> bool:
    """Whether a host is an IP address, without brackets, and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host, without brackets, is this machine and can be nothing else."""
    # By RFC 6761 this name never leaves the machine; any other is the answer of a name server.
    return host == "localhost" or (is_ip_literal(host) and ipaddress.ip_address(host).is_loopback)


def http_address(value: object) -> str:
    """Return the address of an HTTP server, without space around it, or raise `ValueError`."""
    text = value.strip() if isinstance(value, str) else ""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"must be an http:// or https:// address, got {value!r}")
    return text

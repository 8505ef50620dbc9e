"""Which end of the traffic is the device: its addresses, prefixes or MAC addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

_MAC = re.compile(r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}")
_MAX_REMEMBERED = 65_536
"""Addresses whose answer is remembered, for prefixes."""
_MAX_STRANGERS = 256


class Device:
    """Addresses of one device; called with packed bytes, as `flows.IsDevice`.

    Parameters
    ----------
    names : addresses (``192.0.2.7``, ``2001:db8::7``), prefixes (``192.0.2.0/28``), MAC addresses
        (``52:54:00:12:34:56``), or several of them with commas between.

    Raises
    ------
    ValueError
        If one is none of these, or there is none.
    """

    def __init__(self, names: Iterable[str]) -> None:
        wanted = [part.strip() for name in names for part in name.split(",") if part.strip()]
        if not wanted:
            raise ValueError("no address of the device; wanted an IP address, a prefix or a MAC")
        self.names = wanted
        self._exact: set[bytes] = set()
        self._prefixes: list[tuple[int, int, int]] = []
        self._remembered: dict[bytes, bool] = {}
        for name in wanted:
            self._add(name)
        self.has_mac = any(len(address) == 6 for address in self._exact)
        self.has_ip = bool(self._prefixes) or any(len(address) != 6 for address in self._exact)

    def _add(self, name: str) -> None:
        if _MAC.fullmatch(name):
            self._exact.add(bytes.fromhex(name.replace(":", "").replace("-", "")))
            return
        try:
            network = ipaddress.ip_network(name, strict=False)
        except ValueError:
            raise ValueError(
                f"{name!r} is no address of a device; wanted an IP address (192.0.2.7), a prefix "
                "(192.0.2.0/28) or a MAC (52:54:00:12:34:56)"
            ) from None
        size = network.max_prefixlen
        if network.prefixlen == size:
            self._exact.add(network.network_address.packed)
        else:
            shift = size - network.prefixlen
            self._prefixes.append((size // 8, shift, int(network.network_address) >> shift))

    def __call__(self, address: bytes) -> bool:
        """Return whether an address is the device's."""
        if address in self._exact:
            return True
        if not self._prefixes or len(address) == 6:
            return False
        known = self._remembered.get(address)
        if known is None:
            value, size = int.from_bytes(address, "big"), len(address)
            known = any(n == size and value >> s == prefix for n, s, prefix in self._prefixes)
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[address] = known
        return known


class Strangers:
    """Addresses that are not the device's, for one who named none of those in a recording."""

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}

    def add(self, *addresses: bytes) -> None:
        """Count addresses, of which only the first few are remembered."""
        for address in addresses:
            if address in self._counts or len(self._counts) < _MAX_STRANGERS:
                self._counts[address] = self._counts.get(address, 0) + 1

    def __str__(self) -> str:
        """Name the most frequent ones."""
        most = sorted(self._counts.items(), key=lambda item: -item[1])[:3]
        return ", ".join(f"{ipaddress.ip_address(address)} ({n:,})" for address, n in most)

"""Frames built byte by byte, for tests."""

from __future__ import annotations

import struct
from ipaddress import ip_address

FIN, SYN, RST, ACK = 1, 2, 4, 16
DEVICE, PEER = "192.0.2.10", "198.51.100.7"
DEVICE6, PEER6 = "2001:db8::a", "2001:db8:1::7"
DEVICE_MAC, PEER_MAC = bytes.fromhex("020000000010"), bytes.fromhex("020000000007")
SECOND = 1_000_000_000


def packed(address: str) -> bytes:
    return ip_address(address).packed


def tcp(
    src_port: int = 40000, dst_port: int = 80, flags: int = ACK, payload: bytes = b"",
    options: bytes = b"",
) -> bytes:  # fmt: skip
    offset = (20 + len(options)) // 4 << 4
    return (
        struct.pack("!HHIIBBHHH", src_port, dst_port, 1, 1, offset, flags, 65535, 0, 0)
        + options
        + payload
    )


def udp(src_port: int = 40000, dst_port: int = 53, payload: bytes = b"") -> bytes:
    return struct.pack("!HHHH", src_port, dst_port, 8 + len(payload), 0) + payload


def ipv4(
    body: bytes, *, proto: int = 6, src: str = DEVICE, dst: str = PEER, fragment: int = 0,
    options: bytes = b"", total: int | None = None,
) -> bytes:  # fmt: skip
    header = 20 + len(options)
    total = header + len(body) if total is None else total
    first = 0x40 | header // 4
    return (
        struct.pack(
            "!BBHHHBBH4s4s", first, 0, total, 7, fragment, 64, proto, 0, packed(src), packed(dst)
        )
        + options
        + body
    )


def ipv6(
    body: bytes, *, following: int = 6, src: str = DEVICE6, dst: str = PEER6,
    length: int | None = None,
) -> bytes:  # fmt: skip
    length = len(body) if length is None else length
    return struct.pack("!IHBB", 6 << 28, length, following, 64) + packed(src) + packed(dst) + body


def ethernet(ip: bytes, *, tags: tuple[int, ...] = (), outgoing: bool = True) -> bytes:
    """An Ethernet frame; the EtherType follows from the IP version."""
    macs = PEER_MAC + DEVICE_MAC if outgoing else DEVICE_MAC + PEER_MAC
    kind = {4: 0x0800, 6: 0x86DD}[ip[0] >> 4]
    tagged = b"".join(struct.pack("!HH", tag, 5) for tag in tags)
    return macs + tagged + struct.pack("!H", kind) + ip


def extension(following: int, body: bytes = bytes(6)) -> bytes:
    """A hop-by-hop, routing or options header; body: 6 bytes and a multiple of 8 more."""
    return bytes((following, (len(body) + 2) // 8 - 1)) + body


def fragment_header(following: int, offset: int, more: bool = True) -> bytes:
    return struct.pack("!BBHI", following, 0, offset << 3 | more, 9)

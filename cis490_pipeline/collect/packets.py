"""Parser of IP packets from captured frames: any bytes give a `Packet` or None.

Only what netflow counts is read. Headers come from the network, so lengths in them are compared
with what was captured and with what was on the wire before they are used; nothing raises.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

LINK_ETHERNET = 1
LINK_RAW = 101
"""No link header: the packet begins with IP."""
LINK_SLL = 113
LINK_SLL2 = 276
"""Linux cooked captures; numbers are the link types of pcap files."""

TCP = 6
UDP = 17
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10

_IPV4_TYPE = 0x0800
_IPV6_TYPE = 0x86DD
_VLAN_TYPES = frozenset((0x8100, 0x88A8, 0x9100))
_MAX_TAGS = 4
# Hop-by-hop, routing, destination options, mobility, HIP, shim6: length in 8 bytes, less one.
_EXTENSIONS = frozenset((0, 43, 60, 135, 139, 140))
_HOP_BY_HOP = 0
_FRAGMENT = 44
_AUTHENTICATION = 51
_MAX_EXTENSIONS = 16

_PLAIN_BYTES = 48
_plain = Struct("!6s6sHBxHxxHxBxx4s4sHH8xBB").unpack_from
_u16 = Struct("!H").unpack_from
_ipv4 = Struct("!BxHxxHxB2x4s4s").unpack_from
_ipv6 = Struct("!BxxxHBx16s16s").unpack_from
_tcp = Struct("!HH8xBB").unpack_from
_ports = Struct("!HH").unpack_from


class Packet(NamedTuple):
    """One captured IP packet; of a super-packet (GSO, GRO), the segments it stands for."""

    t_ns: int
    src: bytes
    dst: bytes
    """Addresses, 4 or 16 bytes."""
    proto: int
    """IP protocol; of IPv6, the first header that is no extension."""
    src_port: int | None
    dst_port: int | None
    """0 where the protocol has none, None where the transport header was not seen: a later
    fragment, a header cut off or one that contradicts the packet's length."""
    flags: int
    """TCP flags; 0 for other protocols."""
    ip_bytes: int
    """IP bytes of all segments, each with its headers; neither link header nor padding."""
    payload: int
    """Bytes after the transport header, of all segments together."""
    segments: int
    headers: int
    """Bytes of IP and transport headers of one segment."""
    src_mac: bytes
    dst_mac: bytes
    """Empty where the link layer does not give them."""
    outgoing: bool | None
    """Whether the device sent it, where the capture knows; None: addresses decide."""
    transport_at: int
    """Offset of the transport header in the frame; -1 where it was not seen."""


def parse(
    frame: bytes,
    t_ns: int,
    *,
    link: int = LINK_ETHERNET,
    wire_length: int | None = None,
    gso_size: int = 0,
    outgoing: bool | None = None,
) -> Packet | None:
    """Parse a frame; None if it holds no IP packet.

    Parameters
    ----------
    frame : captured bytes, which may end before the packet does.
    t_ns : time stamp, copied into the packet.
    link : link type, as in pcap files.
    wire_length : length of the whole frame on the wire; None: all of it was captured.
    gso_size : payload bytes of each segment of a super-packet; 0: the packet is one segment.
    outgoing : whether the device sent it, copied into the packet.
    """
    if wire_length is None:
        wire_length = len(frame)
    if link == LINK_ETHERNET and len(frame) >= _PLAIN_BYTES:
        packet = _parse_plain(frame, t_ns, wire_length, gso_size, outgoing)
        if packet is not None:
            return packet
    return _parse_any(frame, t_ns, link, wire_length, gso_size, outgoing)


def _parse_plain(
    frame: bytes, t_ns: int, wire_length: int, gso_size: int, outgoing: bool | None
) -> Packet | None:
    """Parse TCP or UDP over IPv4 without options: most packets, at a third of the cost."""
    (
        dst_mac, src_mac, ether_type, first, total, fragment, proto, src, dst,
        src_port, dst_port, offset, flags,
    ) = _plain(frame)  # fmt: skip
    if ether_type != _IPV4_TYPE or first != 0x45 or fragment & 0x3FFF or total > wire_length - 14:
        return None
    if proto == TCP and offset >= 0x50:
        headers = 20 + (offset >> 4) * 4
    elif proto == UDP:
        headers, flags = 28, 0
    else:
        return None
    payload = total - headers
    if payload < 0:
        return None
    segments = 1
    if 0 < gso_size < payload:
        segments = -(-payload // gso_size)
        total = payload + segments * headers
    return Packet(
        t_ns, src, dst, proto, src_port, dst_port, flags, total, payload, segments, headers,
        src_mac, dst_mac, outgoing, 34,
    )  # fmt: skip


def _parse_any(
    frame: bytes, t_ns: int, link: int, wire_length: int, gso_size: int, outgoing: bool | None
) -> Packet | None:
    found = _link_layer(frame, link)
    if found is None:
        return None
    at, ether_type, src_mac, dst_mac = found
    on_wire = wire_length - at
    if ether_type == _IPV4_TYPE:
        ip = _read_ipv4(frame, at, on_wire)
    elif ether_type == _IPV6_TYPE:
        ip = _read_ipv6(frame, at, on_wire, gso_size > 0)
    else:
        return None
    if ip is None:
        return None
    src, dst, proto, transport_at, total, stripped = ip
    src_port, dst_port, flags, header = None, None, 0, 0
    if transport_at >= 0:
        transport = _read_transport(frame, proto, transport_at, at + total)
        if transport is None:
            transport_at = -1
        else:
            src_port, dst_port, flags, header = transport
    headers = total if transport_at < 0 else transport_at + header - at - stripped
    payload = total - stripped - headers
    segments = 1
    ip_bytes = total
    if 0 < gso_size < payload:
        segments = -(-payload // gso_size)
        ip_bytes = payload + segments * headers
    return Packet(
        t_ns, src, dst, proto, src_port, dst_port, flags, ip_bytes, payload, segments, headers,
        src_mac, dst_mac, outgoing, transport_at,
    )  # fmt: skip


def segmented(packet: Packet, segment_bytes: int) -> Packet:
    """Return a packet as the segments that a payload of at most ``segment_bytes`` makes of it.

    For captures that do not record the segment size of super-packets.
    """
    if packet.src_port is None or not 0 < segment_bytes < packet.payload:
        return packet
    segments = -(-packet.payload // segment_bytes)
    return packet._replace(segments=segments, ip_bytes=packet.payload + segments * packet.headers)


def maximum_segment_size(frame: bytes, packet: Packet) -> int | None:
    """Return the MSS option of a TCP SYN (RFC 9293, 3.7.1); None if it has none."""
    at = packet.transport_at
    if packet.proto != TCP or not packet.flags & SYN or at < 0 or len(frame) < at + 20:
        return None
    end = min(len(frame), at + (frame[at + 12] >> 4) * 4)
    at += 20
    while at + 1 < end and frame[at] != 0:
        kind, length = frame[at], frame[at + 1]
        if kind == 1:
            at += 1
            continue
        if length < 2:
            return None
        if kind == 2 and length == 4 and at + 4 <= end:
            return int(_u16(frame, at + 2)[0])
        at += length
    return None


_LinkLayer = tuple[int, int, bytes, bytes]
"""Offset of the network header, EtherType, source and destination MAC."""


def _link_layer(frame: bytes, link: int) -> _LinkLayer | None:
    size = len(frame)
    if link == LINK_ETHERNET and size >= 14:
        at, ether_type = 14, _u16(frame, 12)[0]
        dst_mac, src_mac = frame[:6], frame[6:12]
    elif link == LINK_RAW and size:
        at, ether_type = 0, {4: _IPV4_TYPE, 6: _IPV6_TYPE}.get(frame[0] >> 4, 0)
        dst_mac = src_mac = b""
    elif link == LINK_SLL and size >= 16:
        at, ether_type = 16, _u16(frame, 14)[0]
        dst_mac, src_mac = b"", frame[6:12] if _u16(frame, 4)[0] == 6 else b""
    elif link == LINK_SLL2 and size >= 20:
        at, ether_type = 20, _u16(frame, 0)[0]
        dst_mac, src_mac = b"", frame[12:18] if frame[11] == 6 else b""
    else:
        return None
    if ether_type in _VLAN_TYPES:
        at, ether_type = _after_tags(frame, at, ether_type)
    return at, ether_type, src_mac, dst_mac


def _after_tags(frame: bytes, at: int, ether_type: int) -> tuple[int, int]:
    for _ in range(_MAX_TAGS):
        if ether_type not in _VLAN_TYPES or len(frame) < at + 4:
            break
        ether_type = _u16(frame, at + 2)[0]
        at += 4
    return at, ether_type


_Network = tuple[bytes, bytes, int, int, int, int]
"""Addresses, protocol, offset of the transport header (-1: not seen), IP length, and bytes of a
header that only super-packets carry."""


def _read_ipv4(frame: bytes, at: int, on_wire: int) -> _Network | None:
    if len(frame) < at + 20:
        return None
    first, total, fragment, proto, src, dst = _ipv4(frame, at)
    header = (first & 0x0F) * 4
    # A super-packet beyond 64 KiB has no room for its length and holds 0.
    total = min(total, on_wire) if total else on_wire
    if first >> 4 != 4 or header < 20 or total < header:
        return None
    transport_at = -1 if fragment & 0x1FFF else at + header
    return src, dst, proto, transport_at, total, 0


def _read_ipv6(frame: bytes, at: int, on_wire: int, is_super: bool) -> _Network | None:
    if len(frame) < at + 40:
        return None
    first, length, following, src, dst = _ipv6(frame, at)
    if first >> 4 != 6 or on_wire < 40:
        return None
    jumbo = length == 0 and (is_super or following == _HOP_BY_HOP)
    total = on_wire if jumbo else min(40 + length, on_wire)
    stripped = 8 if jumbo and is_super and following == _HOP_BY_HOP else 0
    proto, transport_at = _after_extensions(frame, following, at + 40, at + total)
    if transport_at < 0:
        stripped = 0
    return src, dst, proto, transport_at, total, stripped


def _after_extensions(frame: bytes, proto: int, at: int, end: int) -> tuple[int, int]:
    """Return protocol and offset of the header after the extensions; -1: not seen."""
    end = min(end, len(frame))
    for _ in range(_MAX_EXTENSIONS):
        if proto in _EXTENSIONS:
            if at + 8 > end:
                return proto, -1
            step = (frame[at + 1] + 1) * 8
        elif proto == _FRAGMENT:
            if at + 8 > end:
                return proto, -1
            if _u16(frame, at + 2)[0] >> 3:
                return frame[at], -1
            step = 8
        elif proto == _AUTHENTICATION:
            if at + 8 > end:
                return proto, -1
            step = (frame[at + 1] + 2) * 4
        else:
            return proto, at
        proto, at = frame[at], at + step
    return proto, -1


def _read_transport(
    frame: bytes, proto: int, at: int, end: int
) -> tuple[int, int, int, int] | None:
    """Return ports, TCP flags and header length; ``end``: where the IP packet ends."""
    if proto == TCP:
        if len(frame) < at + 14 or end < at + 20:
            return None
        src_port, dst_port, offset, flags = _tcp(frame, at)
        header = (offset >> 4) * 4
        if header < 20 or at + header > end:
            return None
        return src_port, dst_port, flags, header
    if proto == UDP:
        if len(frame) < at + 4 or end < at + 8:
            return None
        src_port, dst_port = _ports(frame, at)
        return src_port, dst_port, 0, 8
    return (0, 0, 0, 0) if at <= end else None

"""The packet parser: known frames, dpkt's opinion, and any bytes."""

import struct

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.collect.packets import (
    LINK_ETHERNET,
    LINK_RAW,
    LINK_SLL,
    LINK_SLL2,
    Packet,
    _parse_any,
    maximum_segment_size,
    parse,
    segmented,
)
from cis490_pipeline_tests.collect import frames as f

LINKS = (LINK_ETHERNET, LINK_RAW, LINK_SLL, LINK_SLL2)


def parsed(frame: bytes, **options: int) -> Packet:
    packet = parse(frame, 5, **options)  # type: ignore[arg-type]
    assert packet is not None
    return packet


def test_tcp_over_ipv4() -> None:
    packet = parsed(f.ethernet(f.ipv4(f.tcp(1234, 443, f.SYN, b"abc"))))

    assert (packet.src, packet.dst) == (f.packed(f.DEVICE), f.packed(f.PEER))
    assert (packet.proto, packet.src_port, packet.dst_port) == (6, 1234, 443)
    assert (packet.flags, packet.ip_bytes, packet.payload) == (f.SYN, 43, 3)
    assert (packet.segments, packet.headers, packet.t_ns) == (1, 40, 5)
    assert (packet.src_mac, packet.dst_mac) == (f.DEVICE_MAC, f.PEER_MAC)


@pytest.mark.parametrize("tags", [(0x8100,), (0x88A8, 0x8100), (0x9100, 0x8100, 0x8100)])
def test_vlan_tags_are_skipped(tags: tuple[int, ...]) -> None:
    packet = parsed(f.ethernet(f.ipv4(f.udp(), proto=17), tags=tags))

    assert (packet.proto, packet.dst_port, packet.ip_bytes) == (17, 53, 28)


def test_ethernet_padding_is_no_ip_byte() -> None:
    packet = parsed(f.ethernet(f.ipv4(f.udp(), proto=17)).ljust(60, b"\0"))

    assert packet.ip_bytes == 28


def test_cooked_and_raw_frames_hold_the_same_packet() -> None:
    ip = f.ipv4(f.tcp())
    sll = struct.pack("!HHH8sH", 4, 1, 6, f.DEVICE_MAC, 0x0800) + ip
    sll2 = struct.pack("!HHIHBB8s", 0x0800, 0, 2, 1, 4, 6, f.DEVICE_MAC) + ip
    expected = parsed(ip, link=LINK_RAW)
    for frame, link in ((sll, LINK_SLL), (sll2, LINK_SLL2)):
        packet = parsed(frame, link=link)

        assert packet.src_mac == f.DEVICE_MAC
        assert packet[:11] == expected[:11]


def test_ipv6_extension_headers_are_walked() -> None:
    body = f.extension(43) + f.extension(60, bytes(14)) + f.extension(17) + f.udp(9, 53, b"xy")
    packet = parsed(f.ethernet(f.ipv6(body, following=0)))

    assert (packet.proto, packet.src_port, packet.dst_port) == (17, 9, 53)
    assert (packet.ip_bytes, packet.payload) == (40 + len(body), 2)


def test_an_authentication_header_counts_in_units_of_4_bytes() -> None:
    body = bytes((6, 4)) + bytes(22) + f.tcp(7, 8)
    packet = parsed(f.ethernet(f.ipv6(body, following=51)))

    assert (packet.proto, packet.src_port) == (6, 7)


def test_ports_are_in_the_first_fragment_only() -> None:
    first4 = parsed(f.ethernet(f.ipv4(f.udp(payload=bytes(64)), proto=17, fragment=0x2000)))
    later4 = parsed(f.ethernet(f.ipv4(bytes(64), proto=17, fragment=9)))
    first6 = parsed(f.ethernet(f.ipv6(f.fragment_header(17, 0) + f.udp(), following=44)))
    later6 = parsed(f.ethernet(f.ipv6(f.fragment_header(17, 9) + bytes(64), following=44)))

    assert [p.dst_port for p in (first4, later4, first6, later6)] == [53, None, 53, None]
    assert [p.ip_bytes for p in (later4, later6)] == [84, 112]
    assert [p.proto for p in (later4, later6)] == [17, 17]


@given(
    payload=st.integers(0, 60000),
    gso_size=st.integers(1, 9000),
    version=st.sampled_from((4, 6)),
    proto=st.sampled_from((6, 17)),
)
def test_a_super_packet_counts_as_the_segments_it_becomes(
    payload: int, gso_size: int, version: int, proto: int
) -> None:
    content = bytes(payload)
    body = f.tcp(options=bytes(12), payload=content) if proto == 6 else f.udp(payload=content)
    ip = f.ipv4(body, proto=proto) if version == 4 else f.ipv6(body, following=proto)
    frame = f.ethernet(ip)
    packet = parsed(frame[:100], wire_length=len(frame), gso_size=gso_size)
    headers = (20 if version == 4 else 40) + (32 if proto == 6 else 8)
    segments = [min(gso_size, payload - at) for at in range(0, payload, gso_size)] or [0]

    assert packet.segments == len(segments)
    assert packet.ip_bytes == sum(size + headers for size in segments)
    assert segmented(parsed(frame[:100], wire_length=len(frame)), gso_size) == packet


def test_a_super_packet_beyond_64_kib_is_as_long_as_its_frame() -> None:
    body = f.tcp(payload=bytes(100_000))
    frame4 = f.ethernet(f.ipv4(body, total=0))
    frame6 = f.ethernet(f.ipv6(body, length=0))
    jumbo = f.ethernet(f.ipv6(f.extension(6) + body, following=0, length=0))
    for frame in (frame4, frame6, jumbo):
        packet = parsed(frame[:120], wire_length=len(frame), gso_size=1000)

        assert (packet.payload, packet.segments) == (100_000, 100)
        assert packet.ip_bytes == 100_000 + 100 * (40 if frame is frame4 else 60)


def test_a_length_beyond_the_wire_is_cut_to_it() -> None:
    packet = parsed(f.ethernet(f.ipv4(f.udp(), proto=17, total=60000)))

    assert packet.ip_bytes == 28


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        bytes(13),
        f.ethernet(f.ipv4(f.tcp()))[:33],
        f.ethernet(f.ipv6(f.tcp()))[:53],
        f.ethernet(f.ipv4(f.tcp(), total=19)),
        f.PEER_MAC + f.DEVICE_MAC + b"\x08\x06" + bytes(28),
        f.ethernet(b"\x41" + f.ipv4(f.tcp())[1:]),
    ],
)
def test_what_is_no_ip_packet_gives_none(frame: bytes) -> None:
    assert parse(frame, 0) is None


@pytest.mark.parametrize(
    "ip",
    [
        f.ipv4(f.tcp()[:19]),
        f.ipv4(f.tcp()[:12] + b"\xf0" + f.tcp()[13:]),
        f.ipv4(f.tcp()[:12] + b"\x10" + f.tcp()[13:]),
        f.ipv4(f.udp()[:7], proto=17),
        f.ipv6(f.extension(0) * 30 + f.tcp(), following=0),
        f.ipv6(bytes((6, 255)) + bytes(30), following=0),
    ],
)
def test_a_transport_header_that_cannot_be_is_not_seen(ip: bytes) -> None:
    packet = parsed(f.ethernet(ip))

    assert (packet.src_port, packet.dst_port, packet.flags) == (None, None, 0)
    assert (packet.ip_bytes, packet.transport_at) == (len(ip), -1)


@given(
    frame=st.binary(max_size=200),
    link=st.sampled_from((*LINKS, 0, 147)),
    wire_length=st.none() | st.integers(0, 100_000),
    gso_size=st.integers(0, 65535),
)
def test_any_bytes_give_a_packet_or_none(
    frame: bytes, link: int, wire_length: int | None, gso_size: int
) -> None:
    packet = parse(frame, 0, link=link, wire_length=wire_length, gso_size=gso_size)

    if packet is not None:
        assert packet.segments >= 1
        assert 0 <= packet.payload < packet.ip_bytes
        assert maximum_segment_size(frame, packet) is None or packet.flags & f.SYN


IPS = st.sampled_from(
    [
        f.ipv4(f.tcp(options=bytes(8), payload=b"x" * 30)),
        f.ipv4(f.udp(payload=b"x" * 30), proto=17, options=b"\1" * 8),
        f.ipv6(f.extension(44) + f.fragment_header(6, 0) + f.tcp(), following=0),
        f.ipv6(f.udp(), following=17),
    ]
)


@given(
    ip=IPS,
    tags=st.sampled_from(((), (0x8100,), (0x88A8, 0x8100))),
    changes=st.lists(st.tuples(st.integers(0, 90), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 100),
)
def test_a_frame_with_a_few_wrong_bytes_gives_a_packet_or_none(
    ip: bytes, tags: tuple[int, ...], changes: list[tuple[int, int]], cut: int
) -> None:
    frame = bytearray(f.ethernet(ip, tags=tags))
    for at, value in changes:
        if at < len(frame):
            frame[at] = value
    packet = parse(bytes(frame[:cut]), 0, wire_length=len(frame))

    assert packet is None or 0 <= packet.payload < packet.ip_bytes <= len(frame)


@given(
    src_port=st.integers(0, 65535),
    dst_port=st.integers(0, 65535),
    flags=st.integers(0, 255),
    payload=st.binary(max_size=80),
    version=st.sampled_from((4, 6)),
    proto=st.sampled_from((6, 17)),
)
def test_dpkt_reads_the_same(
    src_port: int, dst_port: int, flags: int, payload: bytes, version: int, proto: int
) -> None:
    transport = (
        f.tcp(src_port, dst_port, flags, payload, bytes(4))
        if proto == 6
        else f.udp(src_port, dst_port, payload)
    )
    ip = f.ipv4(transport, proto=proto) if version == 4 else f.ipv6(transport, following=proto)
    packet = parsed(f.ethernet(ip).ljust(60, b"\0"))
    other = dpkt.ethernet.Ethernet(f.ethernet(ip).ljust(60, b"\0")).data
    body = other.data

    assert (packet.src, packet.dst) == (other.src, other.dst)
    assert (packet.src_port, packet.dst_port) == (body.sport, body.dport)
    assert packet.ip_bytes == (other.len if version == 4 else 40 + other.plen)
    assert packet.payload == len(body.data)
    assert proto == 17 or packet.flags == body.flags


@given(
    frame=st.sampled_from(
        [
            f.ethernet(f.ipv4(f.tcp(options=bytes(12), payload=bytes(90)))),
            f.ethernet(f.ipv4(f.udp(payload=bytes(90)), proto=17)),
        ]
    ),
    changes=st.lists(st.tuples(st.integers(12, 48), st.integers(0, 255)), max_size=2),
    cut=st.integers(40, 60),
    wire_length=st.sampled_from((40, 60, 100, 132, 2000)),
    gso_size=st.integers(0, 100),
)
def test_the_short_way_for_plain_packets_gives_what_the_long_way_does(
    frame: bytes, changes: list[tuple[int, int]], cut: int, wire_length: int, gso_size: int
) -> None:
    changed = bytearray(frame)
    for at, value in changes:
        changed[at] = value
    taken = bytes(changed[:cut])

    assert parse(taken, 0, wire_length=wire_length, gso_size=gso_size) == _parse_any(
        taken, 0, LINK_ETHERNET, wire_length, gso_size, None
    )


def test_the_mss_is_read_from_a_syn_only() -> None:
    options = b"\x01\x01\x04\x02\x02\x04\x05\xb4"
    syn = f.ethernet(f.ipv4(f.tcp(flags=f.SYN, options=options)))
    ack = f.ethernet(f.ipv4(f.tcp(flags=f.ACK, options=options)))
    broken = f.ethernet(f.ipv4(f.tcp(flags=f.SYN, options=b"\x05\x00\x02\x04")))

    assert maximum_segment_size(syn, parsed(syn)) == 1460
    assert maximum_segment_size(ack, parsed(ack)) is None
    assert maximum_segment_size(broken, parsed(broken)) is None

import io
import struct
from collections import Counter

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cis490_pipeline.collect.contract import NETFLOW_FIELDS
from cis490_pipeline.collect.packets import parse
from cis490_pipeline.collect.recorded import packet_rows
from cis490_pipeline.collect.recorded.device import Device
from cis490_pipeline.collect.recorded.packet_rows import PacketRows, SegmentSizes
from cis490_pipeline.collect.recorded.pcap import CaptureFile
from cis490_pipeline.collect.recorded.timeline import UnreadableError
from cis490_pipeline_tests.collect.frames import (
    ACK,
    DEVICE,
    DEVICE6,
    PEER,
    PEER6,
    RST,
    SECOND,
    SYN,
    ethernet,
    ipv4,
    ipv6,
    tcp,
    udp,
)
from cis490_pipeline_tests.collect.recorded.files import MS, T0_NS, pcap, pcapng

ZERO = dict.fromkeys(NETFLOW_FIELDS, 0)


def sent(body, proto=6):
    return ethernet(ipv4(body, proto=proto))


def received(body, proto=6):
    return ethernet(ipv4(body, proto=proto, src=PEER, dst=DEVICE), outgoing=False)


def mss(size):
    return struct.pack("!BBH", 2, 4, size)


def rows_of(packets, *device, write=pcap, **options):
    found = PacketRows(
        CaptureFile(io.BytesIO(write(packets)), "a.pcap"), Device(device or (DEVICE,)), **options
    )
    return list(found), found


def amounts(row):
    return {field: row[field] for field in NETFLOW_FIELDS}


HANDSHAKE = [
    (T0_NS + 10 * MS, sent(tcp(flags=SYN))),
    (T0_NS + 20 * MS, received(tcp(80, 40000, SYN | ACK))),
    (T0_NS + 30 * MS, sent(tcp(flags=ACK, payload=b"hello"))),
    (T0_NS + 350 * MS, received(tcp(80, 40000, RST))),
    (T0_NS + 400 * MS, sent(udp(payload=b"ask"), proto=17)),
]


@pytest.mark.parametrize("write", [pcap, pcapng])
def test_a_capture_becomes_a_row_for_each_100_ms_empty_ones_included(write):
    rows, found = rows_of(HANDSHAKE, write=write)

    assert [row["t_wall_ns"] for row in rows] == [T0_NS + k * 100 * MS for k in (1, 2, 3, 4)]
    assert amounts(rows[0]) == ZERO | {
        "pkts_out": 2, "pkts_in": 1, "bytes_out": 40 + 45, "bytes_in": 40,
        "tcp_syn_out": 1, "new_flows": 1, "dst_ips": 1, "dst_ports": 1,
    }  # fmt: skip
    assert amounts(rows[1]) == amounts(rows[2]) == ZERO
    # Both in (300, 400] ms: a bucket includes its end.
    assert amounts(rows[3]) == ZERO | {
        "pkts_in": 1, "bytes_in": 40, "tcp_rst": 1,
        "pkts_out": 1, "bytes_out": 31, "udp_pkts": 1, "new_flows": 1, "dst_ips": 1, "dst_ports": 1,
    }  # fmt: skip
    assert found.left_out() == []


def test_rows_are_those_of_the_format():
    rows, _ = rows_of(HANDSHAKE)

    assert {key: rows[1][key] for key in rows[1] if key not in NETFLOW_FIELDS} == {
        "source": "bridge_pcap",
        "available_in_deployment": True,
        "t_wall_ns": T0_NS + 200 * MS,
        "t_mono_ns": 200 * MS,
    }


def test_buckets_end_on_a_given_edge():
    rows, _ = rows_of(HANDSHAKE, edge_ns=T0_NS + 25 * MS)

    assert [row["t_wall_ns"] - T0_NS for row in rows] == [k * MS for k in (25, 125, 225, 325, 425)]
    assert [row["pkts_out"] for row in rows] == [1, 1, 0, 0, 1]


def test_the_whole_capture_is_observed_not_only_the_devices_part():
    other = ethernet(ipv4(tcp(), src="203.0.113.1", dst=PEER))
    packets = [(T0_NS - 290 * MS, other), *HANDSHAKE, (T0_NS + 700 * MS, b"\x00" * 60)]

    rows, found = rows_of(packets)

    assert len(rows) == 10
    assert sum(row["pkts_out"] for row in rows) == 3
    assert found.left_out() == [
        "left out: 1 packets of others than the device",
        "left out: 1 frames that hold no IP packet",
    ]


@pytest.mark.parametrize(
    "names", [(DEVICE,), ("192.0.2.0/28",), ("02:00:00:00:00:10",), ("198.51.100.99", DEVICE)]
)
def test_a_device_is_named_by_address_prefix_or_mac(names):
    rows, _ = rows_of(HANDSHAKE, *names)

    assert amounts(rows[0])["pkts_out"] == 2
    assert amounts(rows[0])["pkts_in"] == 1


def test_ipv6_is_counted_like_ipv4():
    packets = [
        (T0_NS + MS, ethernet(ipv6(tcp(flags=SYN)))),
        (T0_NS + 2 * MS, ethernet(ipv6(tcp(80, 40000), src=PEER6, dst=DEVICE6))),
    ]

    rows, _ = rows_of(packets, "2001:db8::/64")

    assert amounts(rows[0]) == ZERO | {
        "pkts_out": 1, "pkts_in": 1, "bytes_out": 60, "bytes_in": 60,
        "tcp_syn_out": 1, "new_flows": 1, "dst_ips": 1, "dst_ports": 1,
    }  # fmt: skip


def test_a_frame_that_was_cut_short_counts_its_length_on_the_wire():
    frame = sent(tcp(payload=bytes(1000)))

    rows, _ = rows_of([(T0_NS + MS, frame)], write=lambda packets: pcap(packets, snap=60))

    assert rows[0]["bytes_out"] == 1040


def test_packets_out_of_order_within_the_tolerance_count_where_they_belong():
    first, *rest = HANDSHAKE

    rows, found = rows_of([*rest, first])

    assert rows == rows_of(HANDSHAKE)[0]
    assert found.timeline.refused == 0


def test_packets_that_go_further_back_are_left_out_and_counted():
    late = [(T0_NS + 3 * SECOND, sent(tcp())), (T0_NS + MS, sent(tcp()))]

    rows, found = rows_of([*HANDSHAKE, *late])

    times = [row["t_wall_ns"] for row in rows]
    assert times == sorted(set(times))
    assert sum(row["pkts_out"] for row in rows) == 4
    assert found.left_out() == [
        (
            "left out: 1 packets out of order by more than the tolerance, the furthest 2.999 s: "
            "sort them first (reordercap IN OUT)"
        )
    ]
    assert sum(row["pkts_out"] for row in rows_of([*HANDSHAKE, *late], tolerance_s=3)[0]) == 5


def test_a_recording_that_was_off_has_no_rows_rather_than_zeros():
    day = 86_400 * SECOND
    again = [(t_ns + day, frame) for t_ns, frame in HANDSHAKE]

    rows, found = rows_of([*HANDSHAKE, *again])

    times = [row["t_wall_ns"] - T0_NS for row in rows]
    assert times == [k * 100 * MS + gap for gap in (0, day) for k in (1, 2, 3, 4)]
    assert len(found.left_out()) == 1
    assert "nothing at all was recorded for over an hour" in found.left_out()[0]


def test_times_that_jump_to_and_fro_end_and_stay_in_order():
    hours = (0, 5, 0, 10, 3, 10)
    packets = [(T0_NS + h * 3600 * SECOND + MS, sent(tcp())) for h in hours]

    rows, found = rows_of(packets)

    assert [row["pkts_out"] for row in rows] == [1, 1, 2]
    assert (found.timeline.n_gaps, found.timeline.refused) == (2, 2)


@pytest.mark.parametrize(
    ("announced", "expected"), [((1460, 1400), 5), ((536, 1460), 13), ((None, 1400), 5)]
)
def test_a_super_packet_counts_as_the_segments_of_its_handshakes_mss(announced, expected):
    ours, theirs = announced
    packets = [
        (T0_NS + MS, sent(tcp(flags=SYN, options=mss(ours) if ours else b""))),
        (T0_NS + 2 * MS, received(tcp(80, 40000, SYN | ACK, options=mss(theirs)))),
        (T0_NS + 120 * MS, sent(tcp(payload=bytes(6900)))),
        (T0_NS + 220 * MS, received(tcp(80, 40000, payload=bytes(6900)))),
    ]

    rows, found = rows_of(packets)

    assert [row["pkts_out"] for row in rows] == [1, expected, 0]
    assert [row["pkts_in"] for row in rows] == [1, 0, expected]
    assert rows[1]["bytes_out"] == rows[2]["bytes_in"] == 6900 + 40 * expected
    assert found.left_out() == [
        (
            f"2 packets over the MSS of their connection count as {2 * expected}: recorded before "
            "or after the network card segments them"
        )
    ]


def test_without_a_handshake_a_super_packet_counts_by_1460():
    packets = [
        (T0_NS + MS, sent(tcp(payload=bytes(1460)))),
        (T0_NS + MS, sent(tcp(payload=bytes(14601)))),
    ]

    rows, found = rows_of(packets)

    assert rows[0]["pkts_out"] == 1 + 11
    assert found.n_super == 1


def test_the_mss_of_connections_is_held_in_bounded_memory():
    sizes = SegmentSizes(max_flows=8)
    for port in range(1000):
        frame = sent(tcp(port, 80, SYN, options=mss(1000)))
        sizes.segmented(frame, parse(frame, T0_NS))

    assert len(sizes._young) + len(sizes._old) <= 8
    reply = received(tcp(80, 999, payload=bytes(2000)))
    assert sizes.segmented(reply, parse(reply, T0_NS)).segments == 2


def test_few_packets_are_held_and_a_flood_beyond_them_still_counts(monkeypatch):
    monkeypatch.setattr(packet_rows, "_MAX_HELD", 10)
    packets = [(T0_NS + k * MS, sent(tcp(k, 80, SYN))) for k in range(1, 901)]

    rows, found = rows_of(packets)

    assert [row["tcp_syn_out"] for row in rows] == [100] * 9
    assert sum(row["new_flows"] for row in rows) == 900
    assert found._held == []


def test_the_most_frequent_addresses_are_named_to_one_who_named_none_of_them():
    rows, found = rows_of(HANDSHAKE, "203.0.113.9")

    assert [amounts(row) for row in rows] == [ZERO] * 4
    assert str(found.strangers) == f"{DEVICE} (5), {PEER} (5)"


def test_a_mac_needs_frames_with_both_macs():
    packets = [(t_ns, frame[14:]) for t_ns, frame in HANDSHAKE]

    with pytest.raises(UnreadableError, match=r"lack the receiver's MAC address.*name its IP"):
        rows_of(packets, "02:00:00:00:00:10", write=lambda p: pcap(p, link=101))
    assert len(rows_of(packets, write=lambda p: pcap(p, link=101))[0]) == 4


packets_in = st.lists(
    st.tuples(
        st.integers(0, 20_000),
        st.sampled_from([(DEVICE, PEER), (PEER, DEVICE), (PEER, "203.0.113.5")]),
        st.one_of(
            st.tuples(st.just(6), st.integers(0, 63), st.integers(1, 5), st.integers(0, 1400)),
            st.tuples(st.just(17), st.just(0), st.integers(1, 5), st.integers(0, 1400)),
        ),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=30, deadline=None)
@given(drawn=packets_in, shuffled=st.randoms(use_true_random=False))
def test_an_order_within_the_tolerance_changes_no_row(drawn, shuffled):
    packets = [
        (T0_NS + ms * MS + k, sent(tcp(port, 80, flags)))
        for k, (ms, _, (_, flags, port, _)) in enumerate(drawn)
    ]
    packets.sort()
    near = sorted(packets, key=lambda packet: packet[0] + shuffled.randint(0, 900) * MS)

    assert rows_of(near)[0] == rows_of(packets)[0]


@settings(max_examples=60, deadline=None)
@given(drawn=packets_in)
def test_sums_over_all_rows_are_those_of_dpkt(drawn):
    packets = []
    for ms, (src, dst), (proto, flags, port, size) in sorted(drawn, key=lambda d: d[0]):
        body = tcp(port, 80, flags, bytes(size)) if proto == 6 else udp(port, 53, bytes(size))
        packets.append((T0_NS + ms * MS + 1, ethernet(ipv4(body, proto=proto, src=src, dst=dst))))

    rows, _ = rows_of(packets)

    assert {f: sum(row[f] for row in rows) for f in _by_dpkt(packets)} == _by_dpkt(packets)
    times = [row["t_wall_ns"] for row in rows]
    assert times == list(range(times[0], times[-1] + 1, 100 * MS))


def _by_dpkt(packets):
    fields = ("pkts_out", "pkts_in", "bytes_out", "bytes_in", "tcp_syn_out", "tcp_rst", "udp_pkts")
    sums = Counter(dict.fromkeys(fields, 0))
    for _, data in dpkt.pcap.Reader(io.BytesIO(pcap(packets))):
        ip = dpkt.ethernet.Ethernet(data).data
        addresses = [".".join(map(str, raw)) for raw in (ip.src, ip.dst)]
        if DEVICE not in addresses:
            continue
        way = "out" if addresses[0] == DEVICE else "in"
        sums[f"pkts_{way}"] += 1
        sums[f"bytes_{way}"] += ip.len
        if isinstance(ip.data, dpkt.tcp.TCP):
            flags = ip.data.flags
            is_syn = flags & dpkt.tcp.TH_SYN and not flags & dpkt.tcp.TH_ACK
            sums["tcp_syn_out"] += bool(way == "out" and is_syn)
            sums["tcp_rst"] += bool(flags & dpkt.tcp.TH_RST)
        else:
            sums["udp_pkts"] += 1
    return sums

"""Buckets, flows and directions, by hand-computed values and properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.collect.contract import BUCKET_NS, MAX_FLOWS, NETFLOW_FIELDS, NO_AMOUNTS
from cis490_pipeline.collect.flows import BucketCounter, FlowTable, flow_key
from cis490_pipeline.collect.packets import Packet, parse
from cis490_pipeline_tests.collect import frames as f

DEVICE = {f.packed(f.DEVICE), f.packed(f.DEVICE6)}
MS = 1_000_000


def packet_of(ip: bytes, t_ns: int, outgoing: bool | None = None) -> Packet:
    packet = parse(f.ethernet(ip), t_ns, outgoing=outgoing)
    assert packet is not None
    return packet


def out(t_ns: int, flags: int = f.ACK, src_port: int = 40000, dst_port: int = 80) -> Packet:
    return packet_of(f.ipv4(f.tcp(src_port, dst_port, flags)), t_ns)


def back(t_ns: int, flags: int = f.ACK, src_port: int = 40000, dst_port: int = 80) -> Packet:
    body = f.tcp(dst_port, src_port, flags)
    return packet_of(f.ipv4(body, src=f.PEER, dst=f.DEVICE), t_ns)


def query(t_ns: int, dst: str = f.PEER) -> Packet:
    return packet_of(f.ipv4(f.udp(), proto=17, dst=dst), t_ns)


def new_flows(*packets: Packet) -> list[int]:
    """Flows that each packet begins; packets are at least a bucket apart."""
    counter = BucketCounter(DEVICE)
    found = []
    for packet in packets:
        counter.add(packet)
        amounts = counter.close(counter.index_of(packet.t_ns) * BUCKET_NS)
        found.append(amounts["new_flows"])
    return [count or 0 for count in found]


def test_a_bucket_counts_each_field() -> None:
    counter = BucketCounter(DEVICE)
    for packet in (
        out(10 * MS, f.SYN),
        back(20 * MS, f.SYN | f.ACK),
        out(30 * MS),
        back(40 * MS, f.RST),
        out(45 * MS, f.SYN, src_port=40001, dst_port=81),
        query(50 * MS),
        query(60 * MS, dst="203.0.113.9"),
        packet_of(f.ipv6(f.tcp(1, 2, f.SYN)), 70 * MS),
        packet_of(f.ipv4(bytes(30), proto=17, fragment=3), 80 * MS),
        packet_of(f.ipv4(bytes(8), proto=1, src=f.PEER, dst=f.DEVICE), 100 * MS),
    ):
        assert counter.add(packet)

    assert counter.close(100 * MS) == {
        "pkts_out": 7,
        "pkts_in": 3,
        "bytes_out": 3 * 40 + 2 * 28 + 60 + 50,
        "bytes_in": 2 * 40 + 28,
        "tcp_syn_out": 3,
        "tcp_rst": 1,
        "udp_pkts": 2,
        "new_flows": 6,
        "dst_ips": 3,
        "dst_ports": 4,
    }


def test_a_bucket_takes_its_end_and_not_its_start() -> None:
    counter = BucketCounter(DEVICE)
    for t_ms in (0, 100, 101, 200):
        counter.add(out(t_ms * MS))

    assert counter.close(0)["pkts_out"] == 1
    assert counter.close(100 * MS)["pkts_out"] == 1
    assert counter.close(200 * MS)["pkts_out"] == 2


def test_amounts_come_in_the_order_of_the_contract() -> None:
    assert tuple(BucketCounter().close(BUCKET_NS)) == NETFLOW_FIELDS == tuple(NO_AMOUNTS)


def test_both_directions_are_one_flow() -> None:
    assert new_flows(out(0), back(f.SECOND), out(2 * f.SECOND)) == [1, 0, 0]
    assert new_flows(back(0), out(f.SECOND)) == [1, 0]


def test_a_flow_begins_again_after_silence() -> None:
    assert new_flows(out(0), out(29 * f.SECOND), back(59 * f.SECOND)) == [1, 0, 1]
    assert new_flows(query(0), query(9 * f.SECOND), query(19 * f.SECOND)) == [1, 0, 1]


def test_a_syn_begins_a_flow_only_after_fin_or_rst() -> None:
    s = f.SECOND
    assert new_flows(out(0, f.SYN), out(s, f.SYN)) == [1, 0]
    assert new_flows(out(0, f.SYN), back(s, f.RST), out(2 * s), out(3 * s, f.SYN)) == [1, 0, 0, 1]
    assert new_flows(out(0), out(s, f.FIN | f.ACK), back(2 * s, f.SYN | f.ACK)) == [1, 0, 0]
    assert new_flows(out(0), out(s, f.FIN), out(2 * s, f.SYN), out(3 * s, f.SYN)) == [1, 0, 1, 0]


def test_a_busy_flow_is_not_forgotten_when_the_table_turns() -> None:
    times = [k * f.SECOND for k in range(0, 200, 20)]

    assert new_flows(*(out(t) for t in times)) == [1] + [0] * 9


def test_direction_comes_from_the_capture_then_addresses_then_macs() -> None:
    ip = f.ipv4(f.tcp(), src="10.0.0.1", dst="10.0.0.2")
    counter = BucketCounter({f.DEVICE_MAC})
    by_mac_out = parse(f.ethernet(ip), 1)
    by_mac_in = parse(f.ethernet(ip, outgoing=False), 1)
    assert by_mac_out is not None
    assert by_mac_in is not None
    for packet in (by_mac_out, by_mac_in, by_mac_in, by_mac_out._replace(outgoing=False)):
        counter.add(packet)
    amounts = counter.close(BUCKET_NS)

    assert (amounts["pkts_out"], amounts["pkts_in"], counter.foreign) == (1, 3, 0)


def test_packets_of_others_are_not_counted() -> None:
    counter = BucketCounter(DEVICE)

    assert not counter.add(packet_of(f.ipv4(f.tcp(), src="10.0.0.1", dst="10.0.0.2"), 1))
    assert (counter.foreign, counter.close(BUCKET_NS)["pkts_in"]) == (1, 0)


def test_an_ignored_connection_is_not_counted_in_either_direction() -> None:
    counter = BucketCounter(DEVICE)
    counter.ignored = {flow_key(6, f.packed(f.PEER), 80, f.packed(f.DEVICE), 40000)}
    kept = [counter.add(p) for p in (out(1), back(1), out(1, src_port=40001), query(1))]

    assert kept == [False, False, True, True]
    assert counter.close(BUCKET_NS)["pkts_out"] == 2


def test_a_late_packet_counts_in_the_oldest_open_bucket() -> None:
    counter = BucketCounter(DEVICE)
    counter.close(BUCKET_NS)
    counter.add(out(5))

    assert counter.late == 1
    assert counter.close(2 * BUCKET_NS)["pkts_out"] == 1


def test_buckets_of_a_loss_have_no_amounts() -> None:
    counter = BucketCounter(DEVICE)
    counter.add(out(5))
    counter.mark_lost(150 * MS, 250 * MS)
    rows = [counter.close(k * BUCKET_NS) for k in (1, 2, 3, 4)]

    assert [row["pkts_out"] for row in rows] == [1, None, None, 0]
    assert rows[1] == NO_AMOUNTS


def test_an_end_off_the_grid_moves_it_and_gives_no_wrong_amounts() -> None:
    counter = BucketCounter(DEVICE)
    for t_ms in (30, 130, 180):
        counter.add(out(t_ms * MS))
    first = counter.close(140 * MS)
    counter.add(out(290 * MS))
    later = [counter.close(t_ms * MS) for t_ms in (240, 340)]

    assert [row["pkts_out"] for row in (first, *later)] == [None, None, 1]


def test_a_bucket_cannot_be_closed_twice() -> None:
    counter = BucketCounter(DEVICE)
    counter.close(BUCKET_NS)

    with pytest.raises(ValueError, match="ends at 100000000 ns was closed before"):
        counter.close(BUCKET_NS)


@given(
    st.lists(st.tuples(st.integers(0, 2_000 * MS), st.booleans(), st.integers(0, 3)), max_size=60)
)
def test_every_packet_counts_in_exactly_one_bucket(events: list[tuple[int, bool, int]]) -> None:
    counter = BucketCounter(DEVICE)
    for t_ns, outgoing, port in events:
        counter.add((out if outgoing else back)(t_ns, src_port=port))
    rows = [counter.close(k * BUCKET_NS) for k in range(21)]
    expected = [sum(-(-t_ns // BUCKET_NS) == k for t_ns, _, _ in events) for k in range(21)]

    assert [(row["pkts_out"] or 0) + (row["pkts_in"] or 0) for row in rows] == expected
    assert sum(row["new_flows"] or 0 for row in rows) == len({port for _, _, port in events})


@given(
    st.lists(
        st.tuples(
            st.integers(0, 12_000), st.integers(0, 2), st.sampled_from((f.ACK, f.SYN, f.FIN, f.RST))
        ),
        max_size=60,
    )
)
def test_flows_begin_as_a_table_without_bounds_says(events: list[tuple[int, int, int]]) -> None:
    table = FlowTable()
    last: dict[int, tuple[int, bool]] = {}
    t_ns = 0
    for pause_ms, port, flags in events:
        t_ns += pause_ms * MS
        before_ns, closed = last.get(port, (-(10**18), False))
        expected = t_ns - before_ns >= 30 * f.SECOND or (closed and flags == f.SYN)
        last[port] = (t_ns, (closed and not expected) or flags in (f.FIN, f.RST))
        key = flow_key(6, f.packed(f.DEVICE), port, f.packed(f.PEER), 80)

        assert table.begins(key, t_ns, flags) == expected


def test_a_flood_of_ports_leaves_the_table_bounded() -> None:
    table = FlowTable()
    sizes = []
    for k in range(3 * MAX_FLOWS):
        address = (k & 0xFFFFFF).to_bytes(4, "big")
        assert table.begins(flow_key(6, f.packed(f.DEVICE), 1, address, 2), k, f.SYN)
        sizes.append(len(table))

    assert max(sizes) <= MAX_FLOWS
    assert min(sizes[MAX_FLOWS:]) >= MAX_FLOWS // 2 - 1

"""Counting frames in arrays gives the rows that counting them one by one gives."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.collect.contract import BUCKET_NS, Amounts
from cis490_pipeline.collect.flows import BucketCounter, flow_key
from cis490_pipeline.collect.packets import LINK_ETHERNET, LINK_RAW, parse
from cis490_pipeline.collect.readers.arrays import Frames, count_frames
from cis490_pipeline_tests.collect import frames as f


@dataclass(frozen=True)
class Captured:
    """A frame as a capture delivers it."""

    frame: bytes
    pause_ns: int
    outgoing: bool
    gso_size: int = 0
    cut: int = 160
    link: int = LINK_ETHERNET
    change: tuple[int, int] | None = None

    @property
    def captured(self) -> bytes:
        """The bytes that were captured, one of them wrong."""
        frame = bytearray(self.frame[: self.cut])
        if self.change is not None and self.change[0] < len(frame):
            frame[self.change[0]] = self.change[1]
        return bytes(frame)


def plain_frames() -> list[bytes]:
    """TCP and UDP of a few two-way flows, as nearly all traffic is."""
    found = []
    for flags in (f.ACK, f.SYN, f.SYN | f.ACK, f.FIN | f.ACK, f.RST):
        for a, b in ((1, 2), (2, 1), (1, 3)):
            found.append(f.ethernet(f.ipv4(f.tcp(a, b, flags, bytes(a), bytes(12)))))
            found.append(f.ethernet(f.ipv4(f.tcp(b, a, flags), src=f.PEER, dst=f.DEVICE)))
            found.append(f.ethernet(f.ipv6(f.tcp(a, b, flags, bytes(3000)))))
    found += [
        f.ethernet(f.ipv4(f.udp(1, 2), proto=17, dst=dst))
        for dst in (f.PEER, "203.0.113.0", "10.0.0.0")
    ]
    found.append(f.ethernet(f.ipv6(f.udp(2, 1, bytes(40)), following=17, dst="2001:db8::")))
    found.append(f.ethernet(f.ipv4(f.udp(1, 2, bytes(30_000)), proto=17)))
    found.append(f.ethernet(f.ipv6(f.udp(2, 1, bytes(30_000)), following=17)))
    return found


def odd_frames() -> list[bytes]:
    """Frames that the arrays must leave to the parser, and some that look so."""
    tcp, udp = f.tcp(1, 2, f.ACK, bytes(40)), f.udp(1, 2, bytes(40))
    found = [f.ethernet(f.ipv4(tcp), tags=(0x8100,)), f.PEER_MAC * 2 + b"\x08\x06" + bytes(60)]
    for total in (0, 10, 27, 30, 39, 40, 65535):
        found += [f.ethernet(f.ipv4(tcp, total=total))]
        found += [f.ethernet(f.ipv4(udp, proto=17, total=total))]
        found += [f.ethernet(f.ipv6(tcp, length=total))]
    for fragment in (0x4000, 0x2000, 5):
        found.append(f.ethernet(f.ipv4(udp, proto=17, fragment=fragment)))
        found.append(f.ethernet(f.ipv4(tcp, fragment=fragment)))
    for offset in (0, 4, 15):
        wrong = tcp[:12] + bytes((offset << 4,)) + tcp[13:]
        found += [f.ethernet(f.ipv4(wrong)), f.ethernet(f.ipv6(wrong))]
    for offset in (0, 1):
        body = f.extension(44) + f.fragment_header(6, offset) + tcp
        found.append(f.ethernet(f.ipv6(body, following=0)))
    found += [f.ethernet(f.ipv4(tcp, options=b"\1" * 4)), f.ethernet(f.ipv4(tcp, proto=1))]
    found += [f.ethernet(f.ipv6(tcp, following=58)), f.ethernet(f.ipv4(tcp)).ljust(120, b"x")]
    return found


PLAIN = plain_frames()
PAUSES_NS = (0, 1, 40_000_000, BUCKET_NS, 9 * f.SECOND, 10 * f.SECOND, 31 * f.SECOND, -5_000_000)
PLAIN_CAPTURES = st.builds(
    Captured,
    frame=st.sampled_from(PLAIN[:6]) | st.sampled_from(PLAIN),
    pause_ns=st.sampled_from(PAUSES_NS),
    outgoing=st.booleans(),
)
ANY_CAPTURES = st.builds(
    Captured,
    frame=st.sampled_from(PLAIN) | st.sampled_from(odd_frames()),
    pause_ns=st.sampled_from(PAUSES_NS),
    outgoing=st.booleans(),
    gso_size=st.sampled_from((0, 0, 1, 1000, 65535)),
    cut=st.sampled_from((160, 160, 160, 0, 13, 33, 41, 47, 53, 61, 73)),
    link=st.sampled_from((LINK_ETHERNET, LINK_ETHERNET, LINK_ETHERNET, LINK_RAW, -1)),
    change=st.none() | st.tuples(st.integers(12, 80), st.integers(0, 255)),
)


def frames_of(captured: list[Captured]) -> Frames:
    kept = [each.captured for each in captured]
    sizes = np.array([len(frame) for frame in kept], dtype=np.int64)
    return Frames(
        data=np.frombuffer(b"\xff" + b"".join(kept) + b"\xff", dtype=np.uint8),
        at=1 + np.cumsum(sizes) - sizes,
        captured=sizes,
        wire=np.array([len(each.frame) for each in captured], dtype=np.int64),
        t_ns=np.cumsum([each.pause_ns for each in captured], dtype=np.int64),
        gso_size=np.array([each.gso_size for each in captured], dtype=np.int64),
        outgoing=np.array([each.outgoing for each in captured]),
        link=np.array([each.link for each in captured], dtype=np.int64),
    )


def counted_singly(counter: BucketCounter, captured: list[Captured]) -> None:
    t_ns = 0
    for each in captured:
        t_ns += each.pause_ns
        if each.link < 0:
            continue
        packet = parse(
            each.captured,
            t_ns,
            link=each.link,
            wire_length=len(each.frame),
            gso_size=each.gso_size,
            outgoing=each.outgoing,
        )
        if packet is not None:
            counter.add(packet)


def rows_of(counter: BucketCounter) -> list[Amounts]:
    ends = sorted(counter._buckets)
    return [counter.close(end * BUCKET_NS) for end in ends]


@given(
    batches=st.lists(
        st.lists(PLAIN_CAPTURES, min_size=1, max_size=30)
        | st.lists(ANY_CAPTURES, min_size=1, max_size=30),
        min_size=1,
        max_size=3,
    ),
    max_flows=st.sampled_from((2, 6, 65536)),
    is_ignoring=st.booleans(),
    closed=st.sampled_from((None, BUCKET_NS)),
)
def test_both_ways_give_equal_rows_and_flows(
    batches: list[list[Captured]], max_flows: int, is_ignoring: bool, closed: int | None
) -> None:
    arrays, single = (BucketCounter(max_flows=max_flows) for _ in range(2))
    for counter in (arrays, single):
        if is_ignoring:
            counter.ignored = {flow_key(6, f.packed(f.DEVICE), 1, f.packed(f.PEER), 2)}
        if closed is not None:
            counter.close(closed)
    for batch in batches:
        count_frames(arrays, frames_of(batch))
        counted_singly(single, batch)

    assert arrays.late == single.late
    assert rows_of(arrays) == rows_of(single)
    assert (arrays.flows.young, arrays.flows.old) == (single.flows.young, single.flows.old)


def assert_equal(batches: list[list[Captured]]) -> None:
    arrays, single = BucketCounter(), BucketCounter()
    for batch in batches:
        count_frames(arrays, frames_of(batch))
        counted_singly(single, batch)

    assert rows_of(arrays) == rows_of(single)
    assert (arrays.flows.young, arrays.flows.old) == (single.flows.young, single.flows.old)


@pytest.mark.parametrize("gso_size", [0, 1, 1000])
@pytest.mark.parametrize("cut", [160, 73, 61, 53, 47, 41, 33, 13, 0])
def test_every_odd_frame_counts_as_the_parser_says(cut: int, gso_size: int) -> None:
    for frame in (*plain_frames(), *odd_frames()):
        assert_equal([[Captured(frame, 1, True, gso_size, cut)]])


def test_silence_within_a_block_begins_a_flow() -> None:
    query = PLAIN[-2]
    begin = [Captured(query, 1, True)]

    assert_equal([begin, [Captured(query, pause * f.SECOND, True) for pause in (1, 10, 9, 0)]])


def test_a_flood_of_random_ports_gives_equal_rows() -> None:
    rng = np.random.default_rng(0)
    batch = [
        Captured(f.ethernet(f.ipv4(f.tcp(int(a), int(b), f.SYN))), 20_000, True)
        for a, b in rng.integers(1, 65535, (3000, 2))
    ]
    arrays, single = BucketCounter(max_flows=1000), BucketCounter(max_flows=1000)
    count_frames(arrays, frames_of(batch))
    counted_singly(single, batch)

    assert rows_of(arrays) == rows_of(single)
    assert arrays.flows.young == single.flows.young


def test_plain_traffic_does_not_take_the_slow_way() -> None:
    from cis490_pipeline.collect.readers import arrays

    batch = [
        Captured(f.ethernet(f.ipv4(f.tcp(payload=bytes(100)))), 1, True),
        Captured(f.ethernet(f.ipv6(f.udp(), following=17)), 1, False),
    ]
    common = arrays._read_common(frames_of(batch))

    assert common.chosen.all()

import io
import struct

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cis490_pipeline.collect.packets import LINK_ETHERNET, LINK_RAW, LINK_SLL, LINK_SLL2
from cis490_pipeline.collect.recorded.pcap import MAX_FRAME, CaptureFile, Frame
from cis490_pipeline.collect.recorded.timeline import UnreadableError
from cis490_pipeline_tests.collect.frames import SECOND, ethernet, ipv4, tcp
from cis490_pipeline_tests.collect.recorded.files import (
    MS,
    T0_NS,
    block,
    enhanced,
    interface,
    option,
    pcap,
    pcapng,
    section,
)

FRAME = ethernet(ipv4(tcp(payload=b"abc")))
PACKETS = [(T0_NS, FRAME), (T0_NS + 3 * MS, FRAME[:40]), (T0_NS + 2 * SECOND + 1000, FRAME + b"x")]
FRAMES = [Frame(t, data, len(data), LINK_ETHERNET) for t, data in PACKETS]


def read(content, name="a.pcap"):
    file = CaptureFile(io.BytesIO(content), name)
    return list(file), file


@pytest.mark.parametrize("write", [pcap, pcapng])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("unit_ns", [1000, 1])
def test_either_format_byte_order_and_unit_gives_the_same_frames(write, order, unit_ns):
    frames, file = read(write(PACKETS, order=order, unit_ns=unit_ns))

    assert frames == FRAMES
    assert (file.cut_off_at, file.n_snapped) == (None, 0)


def test_nanoseconds_are_kept():
    packets = [(T0_NS + 123_456_789, FRAME)]

    for write in (pcap, pcapng):
        assert read(write(packets, unit_ns=1))[0][0].t_ns == T0_NS + 123_456_789


@pytest.mark.parametrize("write", [pcap, pcapng])
@pytest.mark.parametrize(
    ("number", "link"),
    [(1, LINK_ETHERNET), (101, LINK_RAW), (12, LINK_RAW), (228, LINK_RAW), (229, LINK_RAW),
     (113, LINK_SLL), (276, LINK_SLL2)],
)  # fmt: skip
def test_link_types_are_told_apart(write, number, link):
    assert {frame.link for frame in read(write(PACKETS, link=number))[0]} == {link}


def test_a_frame_check_sequence_in_the_link_type_is_no_other_link():
    assert read(pcap(PACKETS, link=1 | 0x24000000))[0] == FRAMES


def test_a_snap_length_cuts_frames_and_keeps_their_length_on_the_wire():
    frames, file = read(pcap(PACKETS, snap=30))

    assert [len(frame.data) for frame in frames] == [30, 30, 30]
    assert [frame.wire_length for frame in frames] == [len(data) for _, data in PACKETS]
    assert file.n_snapped == 3


@pytest.mark.parametrize("write", [pcap, pcapng])
def test_a_file_cut_anywhere_gives_the_whole_frames_before_and_says_where(write):
    content = write(PACKETS)
    two = len(write(PACKETS[:2]))

    for end in range(two + 1, len(content)):
        frames, file = read(content[:end])
        assert frames == FRAMES[:2]
        assert file.cut_off_at == two
    assert read(content[:two])[1].cut_off_at is None


@pytest.mark.parametrize(
    ("resolution", "units"),
    [(b"\x00", 1_700_000_000), (b"\x03", 1_700_000_000_000), (b"\x8a", 1_700_000_000 << 10)],
)
def test_every_resolution_of_time_stamps_is_read(resolution, units):
    content = section() + interface(1, option(9, resolution)) + enhanced(units, FRAME)

    assert read(content)[0][0].t_ns == T0_NS


def test_an_offset_of_time_stamps_is_added():
    options = option(14, struct.pack("<q", -5)) + option(0, b"")

    frames, _ = read(section() + interface(1, options) + enhanced(T0_NS // 1000, FRAME))

    assert frames[0].t_ns == T0_NS - 5 * SECOND


def test_blocks_of_other_kinds_are_skipped_and_what_has_no_time_is_counted():
    simple = block(3, struct.pack("<I", len(FRAME)) + FRAME)
    old = block(2, struct.pack("<HHIIII", 0, 0, *divmod(T0_NS // 1000, 1 << 32), 3, 60) + b"abc")
    content = (
        section() + block(4, b"names" * 9) + interface() + simple + block(0x0BAD, bytes(200_000))
        + old + block(5, bytes(12))
    )  # fmt: skip

    frames, file = read(content)

    assert frames == [Frame(T0_NS, b"abc", 60, LINK_ETHERNET)]
    assert (file.n_untimed, file.n_snapped, file.cut_off_at) == (1, 1, None)


def test_a_section_begins_with_interfaces_and_byte_order_of_its_own():
    first = section() + interface(113) + interface(1) + enhanced(T0_NS // 1000, FRAME, number=1)
    second = section(">") + interface(101, order=">")
    content = first + second + enhanced(T0_NS // 1000 + 1, FRAME, order=">")

    assert [frame.link for frame in read(content)[0]] == [LINK_ETHERNET, LINK_RAW]


def test_packets_of_other_links_are_left_out_and_counted():
    content = section() + interface(1) + interface(220)
    content += enhanced(T0_NS // 1000, FRAME) + 2 * enhanced(T0_NS // 1000, b"usb", number=1)

    frames, file = read(content)

    assert frames == FRAMES[:1]
    assert file.other_links == {220: 2}


def test_a_time_that_no_row_can_have_is_left_out_and_counted():
    content = section() + interface(1, option(9, b"\x00"))
    content += enhanced(2**63, FRAME) + enhanced(0, FRAME) + enhanced(T0_NS // SECOND, FRAME)

    frames, file = read(content)

    assert [frame.t_ns for frame in frames] == [T0_NS]
    assert file.n_bad_time == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.pcap: is empty, wanted a pcap or pcapng file; was anything recorded?"),
        (b"\x1f\x8b\x08\x00rest", "is compressed by gzip, wanted .*gunzip -c FILE"),
        (b"#separator \\x09", "begins with 23 73 65 70, wanted a pcap or pcapng file; convert"),
        (b"\x34\xcd\xb2\xa1" + bytes(20), "patched kernel, .*editcap -F pcap"),
        (pcap([])[:20], "byte 0: a header of 20 bytes, wanted 24"),
        (pcap([], version=(3, 1)), "byte 4: version 3.1 of pcap, wanted 2.4"),
        (pcap(PACKETS, link=0), "link type 0, wanted Ethernet .*tcpdump -i any -y LINUX_SLL2"),
        (
            pcap([]) + struct.pack("<IIII", 1, 0, 2**31, 2**31),
            f"byte 24: a packet of 2147483648 bytes, wanted at most {MAX_FRAME}; .*repair",
        ),
        (section()[:8] + bytes(40), "byte 8: byte order 00000000, wanted 1a2b3c4d"),
        (
            section() + enhanced(1, FRAME),
            "byte 28: a packet of interface 0, of which 0 are described",
        ),
        (section() + struct.pack("<II", 6, 13), "a block of 13 bytes, wanted a multiple of 4"),
        (
            section() + struct.pack("<III", 4, 12, 16),
            "byte 28: a block of 12 bytes that ends with another length",
        ),
        (section() + block(1, b"abcd"), "an interface of 4 bytes, number 0; wanted at least 8"),
        (section() + interface() + block(6, bytes(16)), "a packet block of 16 bytes"),
        (
            section() + interface() + block(6, struct.pack("<IIIII", 0, 0, 1, 9, 9) + b"abcd"),
            "9 captured bytes in a block with room for 4",
        ),
    ],
)
def test_what_is_no_capture_is_refused_with_place_and_remedy(content, message):
    with pytest.raises(UnreadableError, match=message):
        read(content)


@settings(max_examples=200, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=400),
        st.builds(
            lambda write, order, cuts: _spoilt(write(PACKETS, order=order), cuts),
            st.sampled_from([pcap, pcapng]),
            st.sampled_from("<>"),
            st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=8)), max_size=4),
        ),
    )
)
def test_any_bytes_give_frames_or_one_clear_error(content):
    frames, refused = [], ""
    try:
        frames.extend(CaptureFile(io.BytesIO(content), "any.pcap"))
    except UnreadableError as fault:
        refused = str(fault)

    assert not refused or refused.startswith("any.pcap")
    assert sum(len(frame.data) for frame in frames) <= len(content)
    assert all(0 < frame.t_ns < 2**63 for frame in frames)


def _spoilt(content, cuts):
    for at, piece in cuts:
        content = content[:at] + piece + content[at + len(piece) :]
    return content


packets_of = st.lists(
    st.tuples(st.integers(1, 2**31).map(lambda us: T0_NS + us * 1000), st.binary(max_size=90)),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(packets=packets_of)
def test_frames_and_times_are_those_of_dpkt(packets):
    for write, reader in ((pcap, dpkt.pcap.Reader), (pcapng, dpkt.pcapng.Reader)):
        content = write(packets)
        theirs = list(reader(io.BytesIO(content)))

        ours, _ = read(content)

        assert [frame.data for frame in ours] == [data for _, data in theirs]
        for frame, (t_s, _) in zip(ours, theirs, strict=True):
            # dpkt gives floats of seconds.
            assert abs(frame.t_ns / 1e9 - float(t_s)) < 2e-6


def test_dpkt_writes_what_is_read_here():
    content = io.BytesIO()
    writer = dpkt.pcap.Writer(content, nano=True)
    for t_ns, frame in PACKETS:
        writer.writepkt_time(frame, t_ns / 1e9)

    frames, _ = read(content.getvalue())

    assert [frame.data for frame in frames] == [data for _, data in PACKETS]
    assert [frame.t_ns for frame in frames] == pytest.approx([t for t, _ in PACKETS], abs=300)

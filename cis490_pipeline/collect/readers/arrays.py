"""Packets of a ring's block counted in arrays, with numpy.

IPv4 and IPv6 with TCP or UDP and neither IP options nor extension headers are counted in arrays;
every other packet goes through `parse`. Both ways give equal rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cis490_pipeline.collect.contract import NS_PER_S, OTHER_SILENCE_NS
from cis490_pipeline.collect.flows import Bucket, BucketCounter
from cis490_pipeline.collect.interfaces import LINK_OF_HARDWARE, OUTGOING, VNET_BYTES, Stamps
from cis490_pipeline.collect.packets import ACK, FIN, LINK_ETHERNET, RST, SYN, TCP, UDP, parse
from cis490_pipeline.collect.readers.ring import ADDRESS_AT

if TYPE_CHECKING:
    from mmap import mmap

    # A device's numpy may be older than its types.
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Bytes = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]
    Words = npt.NDArray[np.uint64]

_MULTIPLIERS = np.array(
    [
        0x9E3779B97F4A7C15,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0xD6E8FEB86659FD93,
        0x85EBCA77C2B2AE63,
    ],
    dtype=np.uint64,
)
"""Odd numbers: flows are sorted by a hash. Where two collide, more steps are taken one by one."""


class Frames(NamedTuple):
    """Captured frames in one buffer, a column for each property, in order of arrival."""

    data: Bytes
    at: Ints
    """Offset of each frame in ``data``."""
    captured: Ints
    """Bytes of the frame that are there."""
    wire: Ints
    """Bytes of the frame on the wire."""
    t_ns: Ints
    gso_size: Ints
    outgoing: Mask
    link: Ints
    """Link type, -1 where there is none that holds IP."""


def count_blocks(
    counter: BucketCounter,
    stamps: Stamps,
    ring: mmap,
    blocks: list[tuple[int, int]],
    is_outside: bool,
) -> None:
    """Count the packets of blocks; of each its number of packets and the first one's offset."""
    count_frames(counter, _frames_of(stamps, ring, blocks, is_outside))


def _frames_of(
    stamps: Stamps, ring: mmap, blocks: list[tuple[int, int]], is_outside: bool
) -> Frames:
    data: Bytes = np.frombuffer(ring, dtype=np.uint8)
    words, halves = data.view(np.uint32), data.view(np.uint16)
    records = _records(ring, blocks)
    word, half = records >> 2, records >> 1
    wall_ns = words[word + 1].astype(np.int64) * NS_PER_S + words[word + 2]
    frame = records + halves[half + 12]
    gso_size = _u16_native(data, frame - VNET_BYTES + 4)
    gso_size[data[frame - VNET_BYTES + 1] == 0] = 0
    hardware = halves[half + (ADDRESS_AT + 8) // 2]
    link = np.full(records.size, -1, dtype=np.int64)
    for number in np.unique(hardware).tolist():
        link[hardware == number] = LINK_OF_HARDWARE.get(number, -1)
    return Frames(
        data=data,
        at=frame,
        captured=words[word + 3].astype(np.int64),
        wire=words[word + 4].astype(np.int64),
        t_ns=_monotonic(stamps, wall_ns),
        gso_size=gso_size,
        outgoing=(data[records + ADDRESS_AT + 10] == OUTGOING) != is_outside,
        link=link,
    )


def _records(ring: mmap, blocks: list[tuple[int, int]]) -> Ints:
    """Return the offset of each packet's record; each record holds the distance to the next."""
    found: list[int] = []
    append = found.append
    with memoryview(ring) as whole, whole.cast("I") as words:
        for n_packets, first in blocks:
            at = first
            for _ in range(n_packets):
                append(at)
                at += words[at >> 2]
    return np.array(found, dtype=np.int64)


def count_frames(counter: BucketCounter, frames: Frames) -> None:
    """Count frames into buckets, as `parse` and `BucketCounter.add` would one by one."""
    common = _read_common(frames)
    if counter.ignored:
        ports = np.array(sorted({port for key in counter.ignored for port in _ports_of(key)}))
        ignored = np.isin(common.src_port, ports) | np.isin(common.dst_port, ports)
        common = common._replace(chosen=common.chosen & ~ignored)
    _count_amounts(counter, frames, common)
    _count_in_order(counter, frames, common)


class Common(NamedTuple):
    """Headers of the frames on the common path; other frames' rows hold nothing of meaning."""

    chosen: Mask
    is_v6: Mask
    proto: Ints
    src_port: Ints
    dst_port: Ints
    flags: Ints
    ip_bytes: Ints
    segments: Ints


def _read_common(frames: Frames) -> Common:
    data, at, captured = frames.data, frames.at, frames.captured
    ether_type = _u16(data, at + 12)
    ip = at + 14
    is_v6 = ether_type == 0x86DD
    first = _u8(data, ip)
    proto = np.where(is_v6, _u8(data, ip + 6), _u8(data, ip + 9))
    ip_header = np.where(is_v6, 40, 20)
    length = np.where(is_v6, _u16(data, ip + 4) + 40, _u16(data, ip + 2))
    transport = ip + ip_header
    tcp_header = (_u8(data, transport + 12) >> 4) * 4
    is_tcp = proto == TCP
    headers = ip_header + np.where(is_tcp, tcp_header, 8)
    has_length = np.where(is_v6, length > 40, length > 0)
    whole = np.where(is_v6, first >> 4 == 6, (first == 0x45) & (_u16(data, ip + 6) & 0x3FFF == 0))
    chosen = (
        (frames.link == LINK_ETHERNET)
        & (is_v6 | (ether_type == 0x0800))
        & whole
        & has_length
        & (is_tcp | (proto == UDP))
        & (captured >= 14 + ip_header + np.where(is_tcp, 20, 8))
        & (length <= frames.wire - 14)
        & (length >= headers)
        & (~is_tcp | (tcp_header >= 20))
    )
    payload = length - headers
    cut = chosen & (frames.gso_size > 0) & (frames.gso_size < payload)
    segments = np.ones(at.size, dtype=np.int64)
    segments[cut] = -(-payload[cut] // frames.gso_size[cut])
    return Common(
        chosen=chosen,
        is_v6=is_v6,
        proto=proto,
        src_port=_u16(data, transport),
        dst_port=_u16(data, transport + 2),
        flags=np.where(is_tcp, _u8(data, transport + 13), 0),
        ip_bytes=length + (segments - 1) * headers,
        segments=segments,
    )


def _count_amounts(counter: BucketCounter, frames: Frames, common: Common) -> None:
    """Count all but flows, which depend on the order of packets."""
    indexes = _indexes(counter, frames.t_ns)
    for index in np.unique(indexes[common.chosen]).tolist():
        rows = common.chosen & (indexes == index)
        bucket = counter.bucket_at(index, int(rows.sum()), int(frames.t_ns[rows].max()))
        out = rows & frames.outgoing
        incoming = rows & ~frames.outgoing
        bucket.pkts_out += int(common.segments[out].sum())
        bucket.pkts_in += int(common.segments[incoming].sum())
        bucket.bytes_out += int(common.ip_bytes[out].sum())
        bucket.bytes_in += int(common.ip_bytes[incoming].sum())
        bucket.tcp_syn_out += int((common.flags[out] & (SYN | ACK) == SYN).sum())
        bucket.tcp_rst += int((common.flags[rows] & RST != 0).sum())
        bucket.udp_pkts += int(common.segments[rows & (common.proto == UDP)].sum())
        bucket.dst_ports.update(np.unique(common.dst_port[out]).tolist())
        _add_destinations(bucket, frames, out, common.is_v6)


def _add_destinations(bucket: Bucket, frames: Frames, out: Mask, is_v6: Mask) -> None:
    for rows, start, size in ((out & ~is_v6, 30, 4), (out & is_v6, 38, 16)):
        if rows.any():
            bucket.dst_ips.update(_distinct(_gather(frames.data, frames.at[rows] + start, size)))


def _distinct(addresses: Bytes) -> list[bytes]:
    """Return each address that differs from the one before it, at least once."""
    differs: Mask = np.ones(len(addresses), dtype=np.bool_)
    differs[1:] = (addresses[1:] != addresses[:-1]).any(axis=1)
    return _as_bytes(addresses[differs])


def _count_in_order(counter: BucketCounter, frames: Frames, common: Common) -> None:
    """Enter packets into the flow table in order; plain packets of one flow at once."""
    words = _flow_words(frames, common)
    t_ns, chosen = frames.t_ns, common.chosen
    # Sixteen bits: numpy sorts them by radix.
    order = np.argsort((words @ _MULTIPLIERS >> np.uint64(48)).astype(np.uint16), kind="stable")
    grouped = words[order]
    heads = (~chosen | (common.flags & (SYN | FIN | RST) != 0))[order]
    heads[0] = True
    heads[1:] |= ~chosen[order[:-1]] | (grouped[1:] != grouped[:-1]).any(axis=1)
    heads[1:] |= np.diff(common.is_v6[order])
    if not _may_group(counter, t_ns, int(heads.sum())):
        order, heads = np.arange(t_ns.size), np.ones(t_ns.size, dtype=np.bool_)
    starts = np.flatnonzero(heads)
    last_ns = np.maximum.reduceat(t_ns[order], starts)
    stops = order[starts]
    in_time = np.argsort(stops)
    stops = stops[in_time]
    rows = zip(
        stops.tolist(),
        chosen[stops].tolist(),
        _keys_of(words[stops], common.is_v6[stops]),
        t_ns[stops].tolist(),
        common.flags[stops].tolist(),
        last_ns[in_time].tolist(),
    )
    begins = counter.flows.begins
    new: list[int] = []
    for row, is_common, key, at_ns, flags, until_ns in rows:
        if not is_common:
            _count_one(counter, frames, row)
        elif begins(key, at_ns, flags, until_ns):
            new.append(row)
    for index, n_new in zip(*np.unique(_indexes(counter, t_ns[new]), return_counts=True)):
        counter.bucket_at(int(index), 0, int(t_ns.max())).new_flows += int(n_new)


def _may_group(counter: BucketCounter, t_ns: Ints, n_entries: int) -> bool:
    """Whether the order of packets of different flows makes no difference to the flow table.

    It does when a generation ends or a flow falls silent among them.
    """
    flows = counter.flows
    return bool(
        len(flows.young) + n_entries < flows.half
        and t_ns.max() < flows.turns_at_ns
        and t_ns.max() - t_ns.min() < OTHER_SILENCE_NS
    )


def _indexes(counter: BucketCounter, t_ns: Ints) -> Ints:
    return -((counter.start_ns - t_ns) // counter.bucket_ns)


def _count_one(counter: BucketCounter, frames: Frames, row: int) -> None:
    link = int(frames.link[row])
    if link < 0:
        return
    at = int(frames.at[row])
    packet = parse(
        frames.data[at : at + int(frames.captured[row])].tobytes(),
        int(frames.t_ns[row]),
        link=link,
        wire_length=int(frames.wire[row]),
        gso_size=int(frames.gso_size[row]),
        outgoing=bool(frames.outgoing[row]),
    )
    if packet is not None:
        counter.add(packet)


def _flow_words(frames: Frames, common: Common) -> Words:
    """Return the two-way 5-tuple of each frame as five words: equal for packets of one flow."""
    words = np.zeros((frames.at.size, 5), dtype=np.uint64)
    rows = common.chosen & ~common.is_v6
    # Addresses and ports lie beside each other where there are no options.
    fields = _gather(frames.data, frames.at[rows] + 26, 12).view(">u4").astype(np.uint64)
    a = fields[:, 0] << 16 | fields[:, 2] >> 16
    b = fields[:, 1] << 16 | fields[:, 2] & 0xFFFF
    words[rows, 0] = np.minimum(a, b)
    words[rows, 1] = np.maximum(a, b)
    words[rows, 2] = common.proto[rows]
    rows = common.chosen & common.is_v6
    if rows.any():
        at = frames.at[rows]
        src, dst = (_gather(frames.data, at + start, 16) for start in (22, 38))
        ports = _gather(frames.data, at + 54, 4)
        a_bytes, b_bytes = np.hstack((src, ports[:, :2])), np.hstack((dst, ports[:, 2:]))
        swapped = ~_less(a_bytes, b_bytes)[:, None]
        keys = np.zeros((at.size, 40), dtype=np.uint8)
        keys[:, 0] = common.proto[rows]
        keys[:, 1:19] = np.where(swapped, b_bytes, a_bytes)
        keys[:, 19:37] = np.where(swapped, a_bytes, b_bytes)
        words[rows] = keys.view(np.uint64)
    return words


def _keys_of(words: Words, is_v6: Mask) -> list[bytes]:
    """Return `flow_key` of each row of words."""
    short = np.empty((len(words), 13), dtype=np.uint8)
    short[:, 0] = words[:, 2]
    for column, start in ((0, 1), (1, 7)):
        number = words[:, column].astype(">u8")
        short[:, start : start + 6] = number.view(np.uint8).reshape(-1, 8)[:, 2:]
    keys = _as_bytes(short)
    if is_v6.any():
        long = _as_bytes(words[is_v6].view(np.uint8)[:, :37])
        for row, key in zip(np.flatnonzero(is_v6).tolist(), long):
            keys[row] = key
    return keys


def _less(a: Bytes, b: Bytes) -> Mask:
    """Return whether each row of ``a`` is below that of ``b``, compared as bytes are."""
    differs = a != b
    column = differs.argmax(axis=1)
    row = np.arange(len(a))
    below: Mask = a[row, column] < b[row, column]
    return below


def _ports_of(key: bytes) -> tuple[int, int]:
    half = (len(key) - 1) // 2
    return int.from_bytes(key[half - 1 : half + 1], "big"), int.from_bytes(key[-2:], "big")


def _monotonic(stamps: Stamps, wall_ns: Ints) -> Ints:
    t_ns = wall_ns - stamps.offset_ns
    # Packets that waited while the clock was set, or that wait since before the last reading.
    for row in np.flatnonzero((t_ns < stamps.oldest_ns) | (t_ns > stamps.now_ns)).tolist():
        t_ns[row] = stamps.monotonic_ns(int(wall_ns[row]))
    return t_ns


def _as_bytes(rows: Bytes) -> list[bytes]:
    size = rows.shape[1]
    whole: list[Any] = np.ascontiguousarray(rows).view(f"V{size}").ravel().tolist()
    return whole


def _gather(data: Bytes, at: Ints, size: int) -> Bytes:
    return data[at[:, None] + np.arange(size)]


# Offsets beyond the buffer belong to frames too short to be chosen; what is read does not matter.
def _u8(data: Bytes, at: Ints) -> Ints:
    return data.take(at, mode="clip").astype(np.int64)


def _u16(data: Bytes, at: Ints) -> Ints:
    return _u8(data, at) << 8 | _u8(data, at + 1)


def _u16_native(data: Bytes, at: Ints) -> Ints:
    pair = np.stack((data[at], data[at + 1]), axis=1).view(np.uint16)
    return pair.ravel().astype(np.int64)

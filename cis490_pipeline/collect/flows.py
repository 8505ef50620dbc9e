"""Netflow buckets: packets of one device become a row for each 100 ms.

Live captures and capture files count through the same code, so that their rows can be compared.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Callable

from cis490_pipeline.collect.contract import (
    BUCKET_NS,
    MAX_FLOWS,
    NO_AMOUNTS,
    OTHER_SILENCE_NS,
    TCP_SILENCE_NS,
    Amounts,
)
from cis490_pipeline.collect.packets import ACK, FIN, RST, SYN, TCP, UDP, Packet

IsDevice = Callable[[bytes], bool]
"""Whether an address is the device's: IPv4 (4 bytes), MAC (6 bytes) or IPv6 (16 bytes)."""

_OPENING = SYN
_OPENING_MASK = SYN | ACK
_CLOSING = FIN | RST
_NOTABLE = SYN | RST


def flow_key(proto: int, src: bytes, src_port: int, dst: bytes, dst_port: int) -> bytes:
    """Return the key of a two-way 5-tuple: the same for both directions."""
    a = src + src_port.to_bytes(2, "big")
    b = dst + dst_port.to_bytes(2, "big")
    return bytes((proto,)) + (a + b if a < b else b + a)


class FlowTable:
    """Which packets begin a flow, in bounded memory.

    Two generations of at most half the entries each: a flow that is seen moves to the younger one;
    when that is full, or 30 s old, the older one is forgotten. A flow that was silent for 30 s
    begins again anyway, so age costs nothing; under a flood of ports, flows not seen for half a
    table are forgotten and count as new when they return.
    """

    def __init__(self, max_flows: int = MAX_FLOWS) -> None:
        self.half = max(max_flows // 2, 1)
        self.young: dict[bytes, int] = {}
        self.old: dict[bytes, int] = {}
        self.turns_at_ns = -(1 << 63)
        """Time at which the younger generation becomes the older one."""

    def __len__(self) -> int:
        return len(self.young) + len(self.old)

    def begins(self, key: bytes, t_ns: int, flags: int, last_ns: int | None = None) -> bool:
        """Enter a packet; return whether it begins a flow.

        ``last_ns``: time of the last of several packets of the flow that follow without a pause,
        none of them with SYN, FIN or RST.
        """
        if t_ns >= self.turns_at_ns:
            self._turn(t_ns)
        last = self.young.get(key)
        if last is None:
            last = self.old.pop(key, None)
            if len(self.young) >= self.half:
                self._turn(t_ns)
        latest_ns = t_ns if last_ns is None else last_ns
        # The lowest bit of an entry: a FIN or RST was seen.
        closing = 1 if flags & _CLOSING else 0
        if last is None:
            self.young[key] = latest_ns << 1 | closing
            return True
        before_ns = last >> 1
        silence_ns = TCP_SILENCE_NS if key[0] == TCP else OTHER_SILENCE_NS
        if t_ns - before_ns >= silence_ns or (last & 1 and flags & _OPENING_MASK == _OPENING):
            new = True
        else:
            new = False
            closing |= last & 1
        # Packets of several interfaces may come out of order.
        self.young[key] = (max(before_ns, latest_ns)) << 1 | closing
        return new

    def _turn(self, t_ns: int) -> None:
        self.old = self.young
        self.young = {}
        self.turns_at_ns = t_ns + TCP_SILENCE_NS


class Bucket:
    """Running amounts of one bucket."""

    __slots__ = (
        "bytes_in", "bytes_out", "dst_ips", "dst_ports", "new_flows",
        "pkts_in", "pkts_out", "tcp_rst", "tcp_syn_out", "udp_pkts",
    )  # fmt: skip

    def __init__(self) -> None:
        self.pkts_out = self.pkts_in = self.bytes_out = self.bytes_in = 0
        self.tcp_syn_out = self.tcp_rst = self.udp_pkts = self.new_flows = 0
        self.dst_ips: set[bytes] = set()
        self.dst_ports: set[int] = set()

    def amounts(self) -> Amounts:
        """Return the amounts by field of the row."""
        return {
            "pkts_out": self.pkts_out,
            "pkts_in": self.pkts_in,
            "bytes_out": self.bytes_out,
            "bytes_in": self.bytes_in,
            "tcp_syn_out": self.tcp_syn_out,
            "tcp_rst": self.tcp_rst,
            "udp_pkts": self.udp_pkts,
            "new_flows": self.new_flows,
            "dst_ips": len(self.dst_ips),
            "dst_ports": len(self.dst_ports),
        }


def _count_transport(bucket: Bucket, packet: Packet, outgoing: bool) -> None:
    _, _, _, proto, _, dst_port, flags, _, _, segments = packet[:10]
    if proto == TCP:
        if flags & _NOTABLE:
            bucket.tcp_syn_out += outgoing and flags & _OPENING_MASK == _OPENING
            bucket.tcp_rst += flags & RST > 0
    elif proto == UDP:
        bucket.udp_pkts += segments
    else:
        return
    if outgoing and dst_port is not None:
        bucket.dst_ports.add(dst_port)


class BucketCounter:
    """Counts packets into buckets (start, end] of a regular grid.

    Packets may come out of order as long as their bucket is open. One that comes after its bucket
    was closed counts in the oldest open bucket, so that sums stay exact, and in `late`.

    Parameters
    ----------
    is_device : which addresses are the device's, for packets that do not know their direction.
        A packet from the device is outgoing, else one to it incoming, else it is `foreign`.
        Broadcast and multicast are incoming where ``is_device`` says so of their destination.
    start_ns : any edge of the grid, in the time of the packets.
    """

    def __init__(
        self,
        is_device: IsDevice | Collection[bytes] | None = None,
        *,
        start_ns: int = 0,
        bucket_ns: int = BUCKET_NS,
        max_flows: int = MAX_FLOWS,
    ) -> None:
        if is_device is None:
            is_device = ()
        self._is_device: IsDevice = (
            is_device if callable(is_device) else frozenset(is_device).__contains__
        )
        self.start_ns = start_ns
        self.bucket_ns = bucket_ns
        self._buckets: dict[int, Bucket] = {}
        self._lost: list[tuple[int, int]] = []
        self._closed: int | None = None
        self._latest_ns: int | None = None
        self.ignored: set[bytes] = set()
        """Keys of flows that are not counted."""
        self.flows = FlowTable(max_flows)
        self.late = 0
        """Packets that came after their bucket was closed."""
        self.foreign = 0
        """Packets neither from nor to the device."""

    def add(self, packet: Packet) -> bool:
        """Count a packet; return whether it is the device's and not ignored."""
        t_ns, src, dst, proto, src_port, dst_port, flags, ip_bytes, _, segments = packet[:10]
        outgoing = packet.outgoing
        if outgoing is None:
            outgoing = self._direction(packet)
            if outgoing is None:
                self.foreign += 1
                return False
        key = b""
        if src_port is not None and dst_port is not None:
            key = flow_key(proto, src, src_port, dst, dst_port)
            if key in self.ignored:
                return False
        bucket = self.bucket_at(-((self.start_ns - t_ns) // self.bucket_ns), 1, t_ns)
        if outgoing:
            bucket.pkts_out += segments
            bucket.bytes_out += ip_bytes
            bucket.dst_ips.add(dst)
        else:
            bucket.pkts_in += segments
            bucket.bytes_in += ip_bytes
        # Without its transport header a packet is known by addresses and length alone.
        if key:
            if self.flows.begins(key, t_ns, flags):
                bucket.new_flows += 1
            _count_transport(bucket, packet, outgoing)
        return True

    def _direction(self, packet: Packet) -> bool | None:
        is_device = self._is_device
        if is_device(packet.src):
            return True
        if is_device(packet.dst):
            return False
        if packet.src_mac and is_device(packet.src_mac):
            return True
        if packet.dst_mac and is_device(packet.dst_mac):
            return False
        return None

    def index_of(self, t_ns: int) -> int:
        """Return the number of the bucket that a time belongs to."""
        return -((self.start_ns - t_ns) // self.bucket_ns)

    def bucket_of(self, t_ns: int) -> Bucket:
        """Return the open bucket that a packet of this time counts in."""
        return self.bucket_at(self.index_of(t_ns), 1, t_ns)

    def bucket_at(self, index: int, n_packets: int, latest_ns: int) -> Bucket:
        """Return the open bucket that packets of a bucket's number count in.

        ``latest_ns``: time of the latest of them.
        """
        if self._latest_ns is None or latest_ns > self._latest_ns:
            self._latest_ns = latest_ns
        if self._closed is not None and index <= self._closed:
            self.late += n_packets
            index = self._closed + 1
        bucket = self._buckets.get(index)
        if bucket is None:
            bucket = self._buckets[index] = Bucket()
        return bucket

    def mark_lost(self, from_ns: int, to_ns: int) -> None:
        """Mark a time in which packets may have been lost: its buckets have no amounts."""
        self._lost.append((self.index_of(from_ns), self.index_of(to_ns)))

    def close(self, end_ns: int) -> Amounts:
        """Return the amounts of the bucket that ends at a time, and close it and all before it.

        An end off the grid moves the grid: what was counted on the old one cannot be divided, so
        that bucket, and those that have begun since, have no amounts.
        """
        index = self.index_of(end_ns)
        if (end_ns - self.start_ns) % self.bucket_ns:
            self._move_grid(end_ns)
            return dict(NO_AMOUNTS)
        if self._closed is not None and index <= self._closed:
            raise ValueError(
                f"the bucket that ends at {end_ns} ns was closed before; ends must increase"
            )
        bucket = self._buckets.pop(index, None)
        lost = any(first <= index <= last for first, last in self._lost)
        self._closed = index
        self._lost = [span for span in self._lost if span[1] > index]
        for number in [number for number in self._buckets if number < index]:
            del self._buckets[number]
        if lost:
            return dict(NO_AMOUNTS)
        return (bucket or Bucket()).amounts()

    def _move_grid(self, end_ns: int) -> None:
        edges = [self.start_ns + last * self.bucket_ns for _, last in self._lost]
        edges += [end_ns] if self._latest_ns is None else [end_ns, self._latest_ns]
        self.start_ns = end_ns
        self._closed = 0
        self._buckets.clear()
        self._lost = []
        if max(edges) > end_ns:
            self.mark_lost(end_ns + 1, max(edges))

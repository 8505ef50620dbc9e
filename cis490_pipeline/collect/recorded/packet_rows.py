"""Netflow rows of one device from a capture file, as the device's own capture would have made them.

A recorded super-packet (GSO, GRO: the kernel hands the network card, or gets from it, several
segments at once) has lost its segment size. It counts as the segments that the MSS of its
handshake makes of it, 1,460 where the handshake was not recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush

from cis490_pipeline.collect.contract import MAX_FLOWS, Row
from cis490_pipeline.collect.flows import BucketCounter
from cis490_pipeline.collect.packets import (
    LINK_ETHERNET,
    SYN,
    TCP,
    Packet,
    maximum_segment_size,
    parse,
    segmented,
)
from cis490_pipeline.collect.recorded.device import Device, Strangers
from cis490_pipeline.collect.recorded.pcap import CaptureFile, Frame
from cis490_pipeline.collect.recorded.timeline import MAX_TIME_NS, Timeline, UnreadableError

TOLERANCE_S = 1.0
_MAX_HELD = 65_536
"""Packets held back to be sorted, some 40 MB; above it the oldest is counted as it came."""
USUAL_MSS = 1460
"""Ethernet's 1,500 bytes without the IPv4 and TCP headers."""
_LEAST_MSS = 88
"""Below it no system goes (Linux: 48 and 88); a lower one is a trap that inflates counts."""


class SegmentSizes:
    """MSS of connections by their handshakes, in bounded memory: the oldest half is forgotten."""

    def __init__(self, max_flows: int = MAX_FLOWS) -> None:
        self._half = max(max_flows // 2, 1)
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        self._least = USUAL_MSS

    def segmented(self, frame: bytes, packet: Packet) -> Packet:
        """Return a TCP packet as its segments; remember the MSS of a SYN."""
        if packet.proto != TCP or packet.src_port is None or packet.dst_port is None:
            return packet
        here = packet.src + packet.src_port.to_bytes(2, "big")
        there = packet.dst + packet.dst_port.to_bytes(2, "big")
        if packet.flags & SYN:
            size = maximum_segment_size(frame, packet)
            if size is not None:
                # What is sent towards the end that announced it.
                self._remember(there + here, max(size, _LEAST_MSS))
            return packet
        if packet.payload <= self._least:
            return packet
        sizes = [s for key in (here + there, there + here) if (s := self._of(key)) is not None]
        return segmented(packet, min(sizes) if sizes else USUAL_MSS)

    def _of(self, key: bytes) -> int | None:
        size = self._young.get(key)
        return self._old.get(key) if size is None else size

    def _remember(self, key: bytes, size: int) -> None:
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[key] = size
        self._least = min(self._least, size)


class PacketRows:
    """Rows of one device from one capture file; iterate once, then ask for `left_out`.

    Parameters
    ----------
    frames : of the file.
    device : which end is the device.
    tolerance_s : how far back in time a packet may come, s.
    edge_ns : end of any bucket, Unix ns; by default buckets end at whole tenths of a second.
    """

    def __init__(
        self,
        frames: CaptureFile,
        device: Device,
        *,
        tolerance_s: float = TOLERANCE_S,
        edge_ns: int = 0,
    ) -> None:
        self.frames = frames
        self.device = device
        self.counter = BucketCounter(device, start_ns=edge_ns)
        self._tolerance_ns = round(tolerance_s * 1e9)
        self.timeline = Timeline(
            self.counter.close, tolerance_ns=self._tolerance_ns, edge_ns=edge_ns
        )
        self.n_packets = 0
        self.n_no_ip = 0
        self.n_super = 0
        self.n_segments = 0
        """Segments that super-packets counted as."""
        self._sizes = SegmentSizes()
        self._held: list[tuple[int, int, Packet]] = []
        self._n_held = 0
        self.strangers = Strangers()

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows from the first frame of the file to its last, empty buckets included.

        Raises
        ------
        UnreadableError
            If the file cannot be read, or has no addresses of the kind that name the device.
        """
        passes, takes, admit = self.timeline.passes, self.timeline.takes, self.timeline.admit
        for frame in self.frames:
            if frame.link != LINK_ETHERNET and not self.device.has_ip:
                raise UnreadableError(
                    f"{self.frames.name}: its frames lack the receiver's MAC address, wanted "
                    "Ethernet frames for a device named by MAC; name its IP address"
                )
            if passes(frame.t_ns):
                self._hold(frame)
            elif takes(frame.t_ns):
                self._count_until(frame.t_ns - self._tolerance_ns)
                yield from admit(frame.t_ns)
                self._hold(frame)
        self._count_until(MAX_TIME_NS)
        yield from self.timeline.finish()

    def _hold(self, frame: Frame) -> None:
        packet = parse(frame.data, frame.t_ns, link=frame.link, wire_length=frame.wire_length)
        if packet is None:
            self.n_no_ip += 1
            return
        self._n_held += 1
        whole = self._sizes.segmented(frame.data, packet)
        heappush(self._held, (packet.t_ns, self._n_held, whole))
        if len(self._held) > _MAX_HELD:
            self._count(heappop(self._held)[2])

    def _count_until(self, t_ns: int) -> None:
        """Count what was held, in order of time: which packet begins a flow depends on it."""
        held = self._held
        while held and held[0][0] <= t_ns:
            self._count(heappop(held)[2])

    def _count(self, packet: Packet) -> None:
        if not self.counter.add(packet):
            if not self.n_packets:
                self.strangers.add(packet.src, packet.dst)
            return
        self.n_packets += 1
        if packet.segments > 1:
            self.n_super += 1
            self.n_segments += packet.segments

    def left_out(self) -> list[str]:
        """Return a line for each kind of what was not counted, or was counted in another way."""
        frames, timeline = self.frames, self.timeline
        links = ", ".join(f"{n:,} of link type {kind}" for kind, n in frames.other_links.items())
        kinds = (
            (self.counter.foreign, "packets of others than the device"),
            (self.n_no_ip, "frames that hold no IP packet"),
            (sum(frames.other_links.values()), f"packets of other links ({links})"),
            (frames.n_untimed, "packets without a time stamp"),
            (frames.n_bad_time, "packets of a time before 1970 or after 2262"),
            (
                timeline.refused,
                (
                    "packets out of order by more than the tolerance, the furthest "
                    f"{timeline.furthest_back_ns / 1e9:.3f} s: sort them first (reordercap IN OUT)"
                ),
            ),
        )
        lines = [f"left out: {n:,} {what}" for n, what in kinds if n]
        if frames.cut_off_at is not None:
            lines.append(f"left out: a last packet that is cut off, at byte {frames.cut_off_at:,}")
        if self.n_super:
            lines.append(
                f"{self.n_super:,} packets over the MSS of their connection count as "
                f"{self.n_segments:,}: recorded before or after the network card segments them"
            )
        return [*lines, *timeline.gap_lines()]

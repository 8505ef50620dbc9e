"""Reader of a ring in memory that the kernel shares: no system call and no wake-up per packet."""

from __future__ import annotations

import mmap
import socket
import struct
from importlib.util import find_spec
from typing import Callable

from cis490_pipeline.collect.contract import NS_PER_S
from cis490_pipeline.collect.flows import BucketCounter
from cis490_pipeline.collect.interfaces import (
    LINK_OF_HARDWARE,
    OUTGOING,
    VNET_BYTES,
    NoCapture,
    PacketSocket,
    Stamps,
)
from cis490_pipeline.collect.packets import parse

_SOL_PACKET = 263
_vnet = struct.Struct("=BBHHHH").unpack_from

BLOCK_BYTES = 128 << 10
N_BLOCKS = 32
RETIRE_MS = 250
"""Age at which the kernel hands over a block that is not full: four wake-ups a second at most. It
also bounds for how long a device with little traffic may leave the ring unread."""
FEW = 48
"""Packets up to which they are cheaper to count one by one."""
_AT_ONCE = 8
"""Blocks that are counted together, and given back together."""
_RX_RING = 5
_VERSION = 10
_TPACKET_V3 = 2
_FRAME_BYTES = 2048
_STATUS_USER = 1
_STATUS_AT = 8
ADDRESS_AT = 48
"""Offset of `struct sockaddr_ll` in a packet's record."""
_block_header = struct.Struct("=IIIIII").unpack_from
_record = struct.Struct("=IIIIIIHH").unpack_from
_address = struct.Struct("=HHiHBB").unpack_from

CountBlocks = Callable[[BucketCounter, Stamps, mmap.mmap, list[tuple[int, int]], bool], None]
"""Counts blocks of a ring: of each its number of packets and the first one's offset; then whether
the interface is seen from outside."""


def array_counter() -> CountBlocks | None:
    """Return the counter that works in arrays; None where there is no numpy."""
    # Asked first: the module would be compiled in vain, which takes memory for good.
    if find_spec("numpy") is None:
        return None
    try:
        from cis490_pipeline.collect.readers.arrays import count_blocks
    except ImportError:
        return None
    return count_blocks


class RingReader:
    """Reads blocks of packets from memory that the kernel fills (TPACKET_V3)."""

    lag_ns = (RETIRE_MS + 20) * 1_000_000
    pause_ns = 50_000_000

    def __init__(self, packet_socket: PacketSocket) -> None:
        self.packet_socket = packet_socket
        self._in_arrays = array_counter()
        self.means = "a ring, in arrays of numpy" if self._in_arrays else "a ring, packet by packet"
        # A device without numpy is a small one.
        self._n_blocks = N_BLOCKS if self._in_arrays else N_BLOCKS // 2
        size = BLOCK_BYTES * self._n_blocks
        n_frames = size // _FRAME_BYTES
        request = struct.pack(
            "7I", BLOCK_BYTES, self._n_blocks, _FRAME_BYTES, n_frames, RETIRE_MS, 0, 0
        )
        sock = packet_socket.socket
        try:
            sock.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V3)
            sock.setsockopt(_SOL_PACKET, _RX_RING, request)
            self._map = mmap.mmap(sock.fileno(), size)
        except OSError as error:
            raise NoCapture(
                f"{packet_socket.name}: no ring of {size} bytes ({error})",
                "capture without the ring",
            ) from error
        self._next = 0

    def drain(self, counter: BucketCounter, stamps: Stamps, until_ns: int | None) -> bool:
        """Count the blocks that the kernel has handed over; return whether all of them were."""
        # An interface that went down leaves an error, which keeps the descriptor readable.
        self.packet_socket.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        for _ in range(2 * self._n_blocks // _AT_ONCE):
            blocks = self._ready()
            stamps.refresh()
            if self._in_arrays is None or sum(n_packets for n_packets, _ in blocks) <= FEW:
                for n_packets, at in blocks:
                    self._count_singly(counter, stamps, n_packets, at)
            else:
                self._in_arrays(counter, stamps, self._map, blocks, self.packet_socket.from_outside)
            for _ in blocks:
                struct.pack_into("=I", self._map, self._next * BLOCK_BYTES + _STATUS_AT, 0)
                self._next = (self._next + 1) % self._n_blocks
            if len(blocks) < _AT_ONCE:
                return True
        return False

    def _ready(self) -> list[tuple[int, int]]:
        """Return the next blocks that the kernel has handed over."""
        blocks = []
        for ahead in range(_AT_ONCE):
            start = (self._next + ahead) % self._n_blocks * BLOCK_BYTES
            _, _, status, n_packets, first, _ = _block_header(self._map, start)
            if not status & _STATUS_USER:
                break
            blocks.append((n_packets, start + first))
        return blocks

    def _count_singly(
        self, counter: BucketCounter, stamps: Stamps, n_packets: int, at: int
    ) -> None:
        for _ in range(n_packets):
            step, seconds, ns, captured, wire, _, mac, _ = _record(self._map, at)
            _, _, _, hardware, kind, _ = _address(self._map, at + ADDRESS_AT)
            link = LINK_OF_HARDWARE.get(hardware)
            if link is not None:
                _, gso_type, _, gso_size, _, _ = _vnet(self._map, at + mac - VNET_BYTES)
                packet = parse(
                    self._map[at + mac : at + mac + captured],
                    stamps.monotonic_ns(seconds * NS_PER_S + ns),
                    link=link,
                    wire_length=wire,
                    gso_size=gso_size if gso_type else 0,
                    outgoing=(kind == OUTGOING) != self.packet_socket.from_outside,
                )
                if packet is not None:
                    counter.add(packet)
            at += step

    def close(self) -> None:
        """Close the ring and the socket."""
        self._map.close()
        self.packet_socket.close()

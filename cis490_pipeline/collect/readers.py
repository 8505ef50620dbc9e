"""Readers of one interface's packets: a ring in shared memory, or a system call for each packet."""

from __future__ import annotations

import errno
import mmap
import socket
import struct
from typing import Any, Callable, Protocol

from cis490_pipeline.collect.contract import NS_PER_S
from cis490_pipeline.collect.flows import BucketCounter
from cis490_pipeline.collect.interfaces import (
    LINK_OF_HARDWARE,
    OUTGOING,
    SNAP_BYTES,
    VNET_BYTES,
    NoCapture,
    PacketSocket,
    Stamps,
)
from cis490_pipeline.collect.packets import parse

_MAX_AT_ONCE = 16_384
_MAX_WAITING = 1 << 20
_ANCILLARY_BYTES = (
    socket.CMSG_SPACE(16) + socket.CMSG_SPACE(20) if hasattr(socket, "CMSG_SPACE") else 128
)
_SOL_PACKET = 263
_AUXDATA = 8
_TIMESTAMPNS = 35
_Message = tuple[bytes, list[tuple[int, int, bytes]], int, Any]
_vnet = struct.Struct("=BBHHHH").unpack_from
_aux = struct.Struct("=IIIHHHH").unpack_from

BLOCK_BYTES = 512 << 10
N_BLOCKS = 8
RETIRE_MS = 250
"""Age at which the kernel hands over a block that is not full: four wake-ups a second at most."""
FEW = 48
"""Packets up to which a block is cheaper to count one by one."""
_RX_RING = 5
_VERSION = 10
_TPACKET_V3 = 2
_FRAME_BYTES = 2048
_STATUS_USER = 1
ADDRESS_AT = 48
"""Offset of `struct sockaddr_ll` in a packet's record."""
_block_header = struct.Struct("=IIIIII").unpack_from
_record = struct.Struct("=IIIIIIHH").unpack_from
_address = struct.Struct("=HHiHBB").unpack_from

CountBlock = Callable[[BucketCounter, Stamps, mmap.mmap, int, int, bool], None]
"""Counts a block: its packets' number, the first one's offset, and `from_outside`."""


class Reader(Protocol):
    """Reads the packets of one interface."""

    packet_socket: PacketSocket
    lag_ns: int
    """How long a packet may take from its arrival until `drain` sees it."""

    def drain(self, counter: BucketCounter, stamps: Stamps, until_ns: int | None) -> bool:
        """Count the packets that wait; return whether all of them were read.

        ``until_ns``: go on until a packet after this monotonic time; None: a bounded number.
        """

    def close(self) -> None:
        """Give back what the reader holds."""


class SocketReader:
    """Reads one packet per system call, where the kernel gives no ring."""

    lag_ns = 5_000_000

    def __init__(self, packet_socket: PacketSocket) -> None:
        self.packet_socket = packet_socket
        self.unreadable = 0
        """Packets that the kernel could not describe (segments of a kind that virtio lacks)."""

    def drain(self, counter: BucketCounter, stamps: Stamps, until_ns: int | None) -> bool:
        """Count the packets that wait; return whether all of them were read."""
        receive = self.packet_socket.socket.recvmsg
        for _ in range(_MAX_AT_ONCE if until_ns is None else _MAX_WAITING):
            try:
                message = receive(VNET_BYTES + SNAP_BYTES, _ANCILLARY_BYTES)
            except BlockingIOError:
                return True
            except OSError as error:
                self._failed(error, counter, stamps)
                continue
            t_ns = self._count(message, counter, stamps)
            if until_ns is not None and t_ns > until_ns:
                return False
        return False

    def _failed(self, error: OSError, counter: BucketCounter, stamps: Stamps) -> None:
        if error.errno == errno.EINVAL:
            stamps.refresh()
            counter.mark_lost(stamps.oldest_ns, stamps.now_ns)
            self.unreadable += 1
        elif error.errno not in (errno.ENETDOWN, errno.ENODEV, errno.ENXIO, errno.EINTR):
            raise error

    def _count(self, message: _Message, counter: BucketCounter, stamps: Stamps) -> int:
        data, ancillary, _, address = message
        wall_ns, wire_length = 0, None
        for level, kind, value in ancillary:
            if kind == _TIMESTAMPNS and level == socket.SOL_SOCKET:
                # 32-bit systems have two 32-bit numbers.
                seconds, ns = struct.unpack("qq" if len(value) == 16 else "ii", value)
                wall_ns = seconds * NS_PER_S + ns
            elif kind == _AUXDATA and level == _SOL_PACKET:
                wire_length = _aux(value)[1]
        t_ns = stamps.monotonic_ns(wall_ns)
        link = LINK_OF_HARDWARE.get(address[3])
        if link is None or len(data) <= VNET_BYTES:
            return t_ns
        _, gso_type, _, gso_size, _, _ = _vnet(data)
        packet = parse(
            data[VNET_BYTES:],
            t_ns,
            link=link,
            wire_length=wire_length,
            gso_size=gso_size if gso_type else 0,
            outgoing=(address[2] == OUTGOING) != self.packet_socket.from_outside,
        )
        if packet is not None:
            counter.add(packet)
        return t_ns

    def close(self) -> None:
        """Close the socket."""
        self.packet_socket.close()


def array_counter() -> CountBlock | None:
    """Return the counter that works in arrays; None where there is no numpy."""
    try:
        from cis490_pipeline.collect.ring import count_block
    except ImportError:
        return None
    return count_block


class RingReader:
    """Reads blocks of packets from memory that the kernel fills (TPACKET_V3)."""

    lag_ns = (RETIRE_MS + 20) * 1_000_000

    def __init__(self, packet_socket: PacketSocket) -> None:
        self.packet_socket = packet_socket
        self._in_arrays = array_counter()
        # Arrays take packets by the block; one by one, a smaller ring leaves memory for the rest.
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
        for _ in range(2 * self._n_blocks):
            start = self._next * BLOCK_BYTES
            _, _, status, n_packets, first, _ = _block_header(self._map, start)
            if not status & _STATUS_USER:
                return True
            stamps.refresh()
            if self._in_arrays is None or n_packets <= FEW:
                self._count_singly(counter, stamps, n_packets, start + first)
            else:
                is_outside = self.packet_socket.from_outside
                self._in_arrays(counter, stamps, self._map, n_packets, start + first, is_outside)
            struct.pack_into("=I", self._map, start + 8, 0)
            self._next = (self._next + 1) % self._n_blocks
        return False

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

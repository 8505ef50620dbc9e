"""Reader of one packet per system call, where the kernel gives no ring."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any, Protocol

from cis490_pipeline.collect.contract import NS_PER_S
from cis490_pipeline.collect.flows import BucketCounter
from cis490_pipeline.collect.interfaces import (
    LINK_OF_HARDWARE,
    OUTGOING,
    SNAP_BYTES,
    VNET_BYTES,
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


class Reader(Protocol):
    """Reads the packets of one interface."""

    packet_socket: PacketSocket
    means: str
    """By which means it reads, for a person."""
    lag_ns: int
    """How long a packet may take from its arrival until `drain` sees it."""
    pause_ns: int
    """How long packets may wait for `drain` at some 100,000 a second without a loss."""

    def drain(self, counter: BucketCounter, stamps: Stamps, until_ns: int | None) -> bool:
        """Count the packets that wait; return whether all of them were read.

        ``until_ns``: go on until a packet after this monotonic time; None: a bounded number.
        """

    def close(self) -> None:
        """Give back what the reader holds."""


class SocketReader:
    """Reads one packet per system call, where the kernel gives no ring."""

    means = "sockets, packet by packet"
    lag_ns = 5_000_000
    pause_ns = 5_000_000

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

"""Live capture of a device's packets into netflow buckets (AF_PACKET)."""

from __future__ import annotations

import socket
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from cis490_pipeline.collect.contract import BUCKET_NS, NS_PER_S, Row, netflow_row
from cis490_pipeline.collect.flows import BucketCounter, flow_key
from cis490_pipeline.collect.interfaces import NoCapture, PacketSocket, Stamps
from cis490_pipeline.collect.packets import TCP
from cis490_pipeline.collect.readers.ring import RingReader
from cis490_pipeline.collect.readers.sockets import Reader, SocketReader

Endpoint = tuple[str, int]
"""IP address and port."""

_MAX_IGNORED = 16
_CHECK_NS = NS_PER_S // 5


class CaptureStatistics(NamedTuple):
    """Packets since the capture was opened, of all interfaces and protocols."""

    packets: int
    dropped: int
    """Lost in the kernel because they were not read in time."""
    late: int
    """Counted in a later bucket, because their own was closed before they were read."""


class Capture:
    """Packets of a device's interfaces as netflow rows; made by `open_capture`.

    Buckets end at multiples of 100 ms of CLOCK_MONOTONIC. A bucket may be closed `lag_ns` after
    its end; a packet read later than that counts in the next one. After `receive`, packets may
    wait for `pause_ns` before the next call, which spares a wake-up for each of them.
    """

    def __init__(self, readers: Sequence[Reader]) -> None:
        self._readers = list(readers)
        self._counter = BucketCounter(bucket_ns=BUCKET_NS)
        self._stamps = Stamps()
        self._packets = self._dropped = 0
        self._ignored: OrderedDict[bytes, None] = OrderedDict()
        now_ns = self._stamps.now_ns
        self._checked_ns = self._asked_ns = now_ns
        # Buckets from before the capture was opened, and the one it was opened in.
        self._counter.mark_lost(min(0, now_ns), now_ns)
        self.lag_ns = max(reader.lag_ns for reader in self._readers)
        self.pause_ns = min(reader.pause_ns for reader in self._readers)

    @property
    def means(self) -> str:
        """By which means packets are read."""
        return " and ".join(sorted({reader.means for reader in self._readers}))

    def filenos(self) -> list[int]:
        """Return the descriptors that become readable when packets wait."""
        return [reader.packet_socket.socket.fileno() for reader in self._readers]

    def absent(self) -> list[str]:
        """Return the interfaces that do not exist at the moment."""
        sockets = [reader.packet_socket for reader in self._readers]
        return [each.name for each in sockets if not each.index]

    def receive(self) -> None:
        """Read what waits, without blocking; notice interfaces that go and come back."""
        self._read(None)

    def close_bucket(self, end_wall_ns: int, end_mono_ns: int) -> Row:
        """Return the row of the 100 ms that end at a time.

        Its amounts are null if packets of it may have been lost.
        """
        self._read(end_mono_ns)
        return netflow_row(self._counter.close(end_mono_ns), end_wall_ns, end_mono_ns)

    def statistics(self) -> CaptureStatistics:
        """Return packets and losses since the start."""
        self._ask_kernel()
        return CaptureStatistics(self._packets, self._dropped, self._counter.late)

    def ignore(self, local: Endpoint, remote: Endpoint) -> None:
        """Leave a TCP connection out of all rows: the one that carries the rows themselves.

        To leave its first packet out as well, bind the socket and call this before connecting.
        """
        key = flow_key(TCP, _packed(local[0]), local[1], _packed(remote[0]), remote[1])
        self._ignored[key] = None
        self._ignored.move_to_end(key)
        # The last segments of a connection that was closed still come.
        while len(self._ignored) > _MAX_IGNORED:
            self._ignored.popitem(last=False)
        self._counter.ignored = set(self._ignored)

    def close(self) -> None:
        """Close the sockets."""
        for reader in self._readers:
            reader.close()

    def _read(self, until_ns: int | None) -> None:
        stamps = self._stamps
        stamps.refresh()
        began_ns = stamps.now_ns
        self._check_interfaces()
        # A list: every reader is drained, whatever the others say.
        done = [reader.drain(self._counter, stamps, until_ns) for reader in self._readers]
        self._ask_kernel()
        if all(done):
            stamps.oldest_ns = began_ns - self.lag_ns

    def _check_interfaces(self) -> None:
        now_ns = self._stamps.now_ns
        if now_ns - self._checked_ns < _CHECK_NS and not self.absent():
            return
        for reader in self._readers:
            if reader.packet_socket.bind():
                # It may have carried packets since the last check.
                self._counter.mark_lost(self._checked_ns, now_ns)
        self._checked_ns = now_ns

    def _ask_kernel(self) -> None:
        now_ns = time.monotonic_ns()
        for reader in self._readers:
            packets, dropped = reader.packet_socket.statistics()
            self._packets += packets
            self._dropped += dropped
            if dropped:
                self._counter.mark_lost(self._asked_ns, now_ns)
        self._asked_ns = now_ns


def open_capture(
    interfaces: Sequence[str], *, ring: bool | None = None, from_outside: bool = False
) -> Capture:
    """Open a capture on interfaces, both directions.

    Parameters
    ----------
    interfaces : names; at least one must exist, the others are bound when they appear.
    ring : read through a ring in shared memory, in arrays if numpy is there; None: unless the
        kernel refuses it.
    from_outside : the interfaces are the host's end of the device's link (tap, veth).

    Raises
    ------
    NoCapture
        If this process may not capture, or no interface exists.
    """
    existing = ", ".join(name for _, name in socket.if_nameindex()) or "none"
    if not interfaces:
        raise NoCapture(
            "no network interface given or found",
            f"name one of those that exist with --iface: {existing}",
        )
    readers: list[Reader] = []
    try:
        readers.extend(_open_reader(name, ring, from_outside) for name in interfaces)
        bound = [reader.packet_socket.bind() for reader in readers]
        if not any(bound):
            raise NoCapture(
                f"no interface is called {' or '.join(interfaces)}",
                f"name one of those that exist: {existing}",
            )
    except BaseException:
        for reader in readers:
            reader.close()
        raise
    return Capture(readers)


def _open_reader(name: str, ring: bool | None, from_outside: bool) -> Reader:
    if ring is not False:
        packet_socket = PacketSocket(name, from_outside=from_outside)
        try:
            return RingReader(packet_socket)
        except NoCapture:
            packet_socket.close()
            if ring:
                raise
    return SocketReader(PacketSocket(name, from_outside=from_outside))


def _packed(address: str) -> bytes:
    """Return an address as packets hold it: IPv4 in 4 bytes, also where it is mapped into IPv6."""
    address = address.partition("%")[0]
    if ":" not in address:
        return socket.inet_pton(socket.AF_INET, address)
    packed = socket.inet_pton(socket.AF_INET6, address)
    return packed[12:] if packed[:12] == bytes(10) + b"\xff\xff" else packed

"""Network interfaces of this machine: which are physical; packet sockets and their time stamps."""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
import time
from typing import NamedTuple

from cis490_pipeline.collect.packets import LINK_ETHERNET, LINK_RAW

_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_PACKET_AUXDATA = 8
_PACKET_VNET_HDR = 15
_SO_TIMESTAMPNS = 35
_SO_RCVBUFFORCE = 33
_SO_ATTACH_FILTER = 26
_ETH_P_ALL = 0x0003
_OTHER_HOST = 3
_NET_RAW_BIT = 13
"""Of CAP_NET_RAW, `capability.h`."""
OUTGOING = 4
"""Packet type of what this machine sends, `packet(7)`."""

SNAP_BYTES = 160
"""Bytes taken of each frame: Ethernet, two tags, IPv6 and 80 bytes of further headers."""
_RECEIVE_BUFFER_BYTES = 4 << 20
STEP_NS = 50_000_000
"""Change of wall against monotonic time from which on the clock was set, not slewed."""
LINK_OF_HARDWARE = {
    1: LINK_ETHERNET,
    772: LINK_ETHERNET,
    512: LINK_RAW,
    519: LINK_RAW,
    768: LINK_RAW,
    769: LINK_RAW,
    776: LINK_RAW,
    65534: LINK_RAW,
}
"""Link type by ARPHRD number: Ethernet and lo; PPP, raw IP and tunnels."""
VNET_BYTES = 10
"""Length of `struct virtio_net_hdr`, which precedes each frame."""


_filter = struct.Struct("HBBI").pack
_LOAD_PACKET_TYPE = _filter(0x20, 0, 0, 0xFFFFF004)
_SKIP_UNLESS_OTHER_HOST = _filter(0x15, 0, 1, _OTHER_HOST)
_DROP = _filter(0x06, 0, 0, 0)
_TAKE = _filter(0x06, 0, 0, SNAP_BYTES)


class NoCapture(Exception):  # noqa: N818 -- not always an error: guest rows go on
    """Why packets cannot be captured, and what to do about it."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


def without_capture(*lacks: NoCapture) -> str:
    """Return what an agent does where packets cannot be captured."""
    return f"no netflow: {', and '.join(lack.reason for lack in lacks)}; guest rows go on"


class SocketStatistics(NamedTuple):
    """What the kernel counted for a socket since it was last asked."""

    packets: int
    dropped: int


def physical_interfaces(folder: str = "/sys/class/net") -> list[str]:
    """Return the interfaces that a device stands behind: neither lo nor bridges, veth or tunnels.

    Their traffic crosses a physical interface as well and would count twice.
    """
    try:
        # pathlib would take half a megabyte of memory.
        names = os.listdir(folder)  # noqa: PTH208
    except FileNotFoundError:
        return []
    return sorted(name for name in names if os.access(f"{folder}/{name}/device", os.F_OK))


class PacketSocket:
    """An AF_PACKET socket on one interface, for both directions of every protocol.

    It stays when the interface goes, and is bound again when one of that name comes back; only
    creating it needs CAP_NET_RAW.

    Parameters
    ----------
    name : the interface.
    from_outside : whether the interface is the host's end of the device's link (tap, veth): what
        it receives, the device sent, and packets to other hosts are the device's too.
    """

    def __init__(self, name: str, *, from_outside: bool = False) -> None:
        self.name = name
        self.from_outside = from_outside
        self.index = 0
        """Number of the interface; 0 while it is absent."""
        self.socket = _new_socket()
        try:
            self._set_options()
        except OSError as error:
            self.socket.close()
            raise NoCapture(
                f"{name}: the kernel refuses an option of packet sockets ({error})",
                "needs Linux 3.2 or later with CONFIG_PACKET",
            ) from error

    def _set_options(self) -> None:
        sock = self.socket
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        # Before a ring is made: the kernel refuses it afterwards.
        sock.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        program = [_TAKE]
        if not self.from_outside:
            # Seen where another program makes the interface promiscuous; not this device's.
            program = [_LOAD_PACKET_TYPE, _SKIP_UNLESS_OTHER_HOST, _DROP, _TAKE]
        code = array.array("B", b"".join(program))
        header = struct.pack("HP", len(program), code.buffer_info()[0])
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)

    def bind(self) -> bool:
        """Bind to the interface of this name if it is not bound to it; return whether it was.

        Sets `index` to 0 if there is none.
        """
        try:
            index = socket.if_nametoindex(self.name)
        except OSError:
            self.index = 0
            return False
        if index == self.index:
            return False
        try:
            self.socket.bind((self.name, _ETH_P_ALL))
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.ENXIO):
                raise
            self.index = 0
            return False
        self.index = index
        return True

    def statistics(self) -> SocketStatistics:
        """Return packets and drops since the last call; the kernel resets them."""
        raw = self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 12)
        return SocketStatistics(*struct.unpack_from("II", raw))

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def _new_socket() -> socket.socket:
    family = getattr(socket, "AF_PACKET", None)
    if family is None:
        raise NoCapture("this system has no packet sockets", "capture runs on Linux only")
    try:
        # Protocol 0: nothing arrives before the options are set and the interface is bound.
        return socket.socket(family, socket.SOCK_RAW, 0)
    except PermissionError as error:
        raise not_permitted(os.path.realpath("/proc/self/exe")) from error
    except OSError as error:
        raise NoCapture(
            f"no packet sockets ({error})", "needs a kernel with CONFIG_PACKET (module af_packet)"
        ) from error


def not_permitted(interpreter: str) -> NoCapture:
    """Return why a process of an interpreter may open no packet socket."""
    try:
        held = os.getxattr(interpreter, "security.capability")
    except OSError:
        held = b""
    # struct vfs_cap_data, little-endian: a version and flags, then the permitted capabilities.
    if len(held) >= 8 and int.from_bytes(held[4:8], "little") >> _NET_RAW_BIT & 1:
        return NoCapture(
            f"{interpreter} holds CAP_NET_RAW, but this process did not get it",
            "start it without NoNewPrivileges, with CAP_NET_RAW in its bounding set, and from a "
            "file system that is not mounted nosuid",
        )
    # Here, since an agent that may capture does without it: its memory is counted.
    import shlex

    return NoCapture(
        "no CAP_NET_RAW, which packet sockets need",
        f'run "sudo setcap cap_net_raw+ep {shlex.quote(interpreter)}", or let systemd give '
        "AmbientCapabilities=CAP_NET_RAW",
    )


class Stamps:
    """Kernel time stamps, which are wall time, as monotonic time.

    Buckets lie on the monotonic clock, which is never set. Packets that waited while the wall
    clock was set are recognised by a time that cannot be, before the last reading or after now.
    """

    def __init__(self) -> None:
        self.offset_ns, self.now_ns = _clock_offset()
        self.before_step_ns = self.offset_ns
        self.oldest_ns = self.now_ns
        """Earliest time that a packet not yet read may have."""

    def refresh(self) -> None:
        """Read both clocks."""
        offset_ns, self.now_ns = _clock_offset()
        if abs(offset_ns - self.offset_ns) > STEP_NS:
            self.before_step_ns = self.offset_ns
        self.offset_ns = offset_ns

    def monotonic_ns(self, wall_ns: int) -> int:
        """Return the monotonic time of a kernel time stamp."""
        t_ns = wall_ns - self.offset_ns
        if t_ns > self.now_ns:
            self.refresh()
            t_ns = wall_ns - self.offset_ns
        if self.oldest_ns <= t_ns <= self.now_ns:
            return t_ns
        before_ns = wall_ns - self.before_step_ns
        if self.oldest_ns <= before_ns <= self.now_ns:
            return before_ns
        return min(max(t_ns, self.oldest_ns), self.now_ns)


def _clock_offset() -> tuple[int, int]:
    """Return wall minus monotonic time and the monotonic time, ns."""
    best_ns = offset_ns = after_ns = 0
    for attempt in range(3):
        before_ns = time.monotonic_ns()
        wall_ns = time.time_ns()
        after_ns = time.monotonic_ns()
        if attempt == 0 or after_ns - before_ns < best_ns:
            best_ns = after_ns - before_ns
            offset_ns = wall_ns - before_ns - best_ns // 2
        # Longer means that this process was interrupted between the readings.
        if best_ns < 5_000:
            break
    return offset_ns, after_ns

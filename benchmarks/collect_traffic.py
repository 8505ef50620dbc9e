"""Packets at a steady rate on a pair of interfaces, through rings that need no call per packet."""

import mmap
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SLOT_BYTES = 256
"""Bytes of a frame's slot in the ring: its header and the frame."""
N_SLOTS = 2048
PAYLOAD_AT = 32
"""Offset of the frame in its slot, after `struct tpacket2_hdr`."""
SEND_REQUEST = 1


def make_pair() -> None:
    """Make v0 and v1, on which the kernel itself sends nothing."""
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    subprocess.run(["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"], check=True)
    for name in ("v0", "v1"):
        subprocess.run(f"ip link set {name} multicast off up".split(), check=True)


def mac_of(name: str) -> bytes:
    shown = subprocess.run(["ip", "-o", "link", "show", name], capture_output=True, check=True)
    return bytes.fromhex(shown.stdout.decode().split("link/ether ")[1][:17].replace(":", ""))


class Transmitter:
    """Sends the frames of a ring (PACKET_TX_RING), many with each system call."""

    def __init__(self, name: str) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(263, 10, 1)  # PACKET_VERSION: TPACKET_V2
        block = 64 * 1024
        n_blocks = N_SLOTS * SLOT_BYTES // block
        self.socket.setsockopt(263, 13, struct.pack("4I", block, n_blocks, SLOT_BYTES, N_SLOTS))
        self.socket.bind((name, 0))
        self._map = mmap.mmap(self.socket.fileno(), N_SLOTS * SLOT_BYTES)
        ring = np.frombuffer(self._map, dtype=np.uint8).reshape(N_SLOTS, SLOT_BYTES)
        self.frames = ring[:, PAYLOAD_AT:]
        self._status = ring[:, :4].view(np.uint32)
        self._length = ring[:, 4:8].view(np.uint32)
        self._next = 0

    def fill(self, frames: list[bytes]) -> None:
        """Put frames into the slots, over and over."""
        for slot in range(N_SLOTS):
            frame = frames[slot % len(frames)]
            self.frames[slot, : len(frame)] = np.frombuffer(frame, dtype=np.uint8)
            self._length[slot] = len(frame)

    def send(self, n: int, random_ports: np.random.Generator | None = None) -> None:
        """Send the next frames; with a generator, each with ports of its own (IPv4)."""
        if n == 0:
            return
        slots = (self._next + np.arange(n)) % N_SLOTS
        if random_ports is not None:
            self.frames[slots, 34:38] = random_ports.integers(0, 256, (n, 4), dtype=np.uint8)
        self._status[slots] = SEND_REQUEST
        self.socket.send(b"")
        self._next = int(slots[-1] + 1) % N_SLOTS


def paced(rate_hz: float, seconds: float, n_at_once: int) -> Iterator[int]:
    """Give the number of packets that are due, so that the rate holds whatever a wait took."""
    began, sent = time.monotonic(), 0
    total = int(rate_hz * seconds)
    while sent < total:
        due = min(int((time.monotonic() - began) * rate_hz), total)
        while sent < due:
            n = min(n_at_once, due - sent)
            sent += n
            yield n
        time.sleep(n_at_once / rate_hz / 2)


def ipv4(proto: int, src: bytes, dst: bytes, body: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, proto, 0)
    return head + src + dst + body


def tcp(src_port: int, dst_port: int, flags: int, payload: bytes) -> bytes:
    head = struct.pack("!HHIIBBHHH", src_port, dst_port, 1, 1, 0x80, flags, 65535, 0, 0)
    return head + bytes(12) + payload

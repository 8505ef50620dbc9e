"""What the capture tests do inside a network namespace."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cis490_pipeline.collect.capture import Capture, open_capture
from cis490_pipeline.collect.contract import BUCKET_NS, NETFLOW_FIELDS
from cis490_pipeline.collect.interfaces import NoCapture
from cis490_pipeline.collect.readers import ring
from cis490_pipeline_tests.collect import frames as f

Amounts = dict[str, Any]


def ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)


def make_pair(first: str = "v0", second: str = "v1") -> None:
    """A pair of interfaces; nothing but these tests sends on them."""
    without_ipv6()
    ip(f"link add {first} type veth peer name {second}")
    for name in (first, second):
        ip(f"link set {name} multicast off up")


def without_ipv6() -> None:
    """Keep the kernel from sending router solicitations and multicast reports of its own."""
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")


def mac_of(name: str) -> bytes:
    shown = subprocess.run(["ip", "-j", "link", "show", name], capture_output=True, check=True)
    return bytes.fromhex(json.loads(shown.stdout)[0]["address"].replace(":", ""))


class Sender:
    """Sends frames on an interface."""

    def __init__(self, name: str) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.bind((name, 0))

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            self.socket.send(frame)


class Rows:
    """Rows of a capture, bucket by bucket, from the first whole one on."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.end_ns = time.monotonic_ns() // BUCKET_NS * BUCKET_NS + BUCKET_NS
        sleep_until(self.end_ns)

    def take(self) -> list[Amounts]:
        """Rows of the buckets that have ended, once all their packets can be read."""
        last_ns = time.monotonic_ns() // BUCKET_NS * BUCKET_NS + BUCKET_NS
        rows = []
        while self.end_ns < last_ns:
            self.end_ns += BUCKET_NS
            sleep_until(self.end_ns + self.capture.lag_ns)
            self.capture.receive()
            row = self.capture.close_bucket(self.end_ns + 7, self.end_ns)
            assert row["t_mono_ns"] == self.end_ns
            assert row["t_wall_ns"] == self.end_ns + 7
            rows.append({field: row[field] for field in NETFLOW_FIELDS})
        return rows

    def sums(self) -> Amounts:
        rows = self.take()
        return {field: sum(row[field] for row in rows) for field in NETFLOW_FIELDS}


def sleep_until(mono_ns: int) -> None:
    time.sleep(max(0, mono_ns - time.monotonic_ns()) / 1e9)


@contextlib.contextmanager
def opened(*names: str, reader: str, from_outside: bool = False) -> Iterator[Rows]:
    if reader == "ring-bare":
        ring.array_counter = lambda: None
    capture = open_capture(names, ring=reader != "sockets", from_outside=from_outside)
    try:
        yield Rows(capture)
    finally:
        capture.close()


def known_traffic(reader: str, copies: int) -> Amounts:
    """Frames both ways; more than a few per block make the ring count in arrays."""
    make_pair()
    with opened("v0", reader=reader) as rows:
        device, peer, own = Sender("v0"), Sender("v1"), mac_of("v0")
        for _ in range(copies):
            device.send(
                f.ethernet(f.ipv4(f.tcp(flags=f.SYN))),
                f.ethernet(f.ipv6(f.udp(payload=b"four"), following=17)),
                f.ethernet(f.ipv4(f.tcp(payload=b"x")), tags=(0x8100,)),
                f.PEER_MAC + f.DEVICE_MAC + b"\x08\x06" + bytes(46),
            )
            reset = f.ipv4(f.tcp(80, 40000, f.RST), src=f.PEER, dst=f.DEVICE).ljust(46, b"\0")
            peer.send(own + f.ethernet(reset, outgoing=False)[6:])
            # To another host: not this device's, even where the interface is promiscuous.
            peer.send(f.ethernet(reset, outgoing=False))
        return rows.sums()


def from_outside(reader: str) -> Amounts:
    make_pair()
    with opened("v1", reader=reader, from_outside=True) as rows:
        Sender("v0").send(f.ethernet(f.ipv4(f.tcp(flags=f.SYN))))
        Sender("v1").send(f.ethernet(f.ipv4(f.tcp(), src=f.PEER, dst=f.DEVICE), outgoing=False))
        return rows.sums()


def tagged(reader: str) -> Amounts:
    """Frames with tags: the kernel takes the outer one of what arrives out of the frame."""
    make_pair()
    with opened("v0", reader=reader) as rows:
        device, peer = Sender("v0"), Sender("v1")
        query = f.ipv4(f.udp(payload=b"ab"), proto=17)
        answer = f.ipv4(f.udp(53, 40000), proto=17, src=f.PEER, dst=f.DEVICE)
        for tags in ((0x8100,), (0x88A8, 0x8100)):
            device.send(f.ethernet(query, tags=tags))
            peer.send(mac_of("v0") + f.ethernet(answer, tags=tags, outgoing=False)[6:])
        return rows.sums()


SERVER = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], 7), family=family)
print("ready", flush=True)
while True:
    connection, _ = server.accept()
    size = 0
    while data := connection.recv(1 << 20):
        size += len(data)
    connection.sendall(bytes(size // 4))
    connection.close()
"""


DATAGRAM_SERVER = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.socket(family, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 7))
server.setsockopt(17, 103, 1000)
print("ready", flush=True)
while True:
    request, sender = server.recvfrom(65536)
    if request == b"answer":
        server.sendto(bytes(10_500), sender)
"""
"""Answers by eleven datagrams that leave as one super-packet (UDP_SEGMENT)."""


@contextlib.contextmanager
def peer_namespace(address: str, own: str, program: str = SERVER) -> Iterator[None]:
    """A server behind the other end of v0, in a namespace of its own."""
    # Without neighbour discovery both ends need one address; nothing but TCP crosses then.
    quiet = f"address {f.DEVICE_MAC.hex(':')} arp off multicast off up"
    ip("link add v0 type veth peer name v1")
    nodad = " nodad" if ":" in address else ""
    start = (
        f"echo there; read go; ip link set v1 {quiet}; "
        f'ip addr add {address} dev v1{nodad}; exec "$@"'
    )
    server = [sys.executable, "-c", program, address.split("/", maxsplit=1)[0]]
    process = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", start, "sh", *server],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "there\n"
        ip(f"link set v1 netns {process.pid}")
        ip(f"link set v0 {quiet}")
        ip(f"addr add {own} dev v0{nodad}")
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.wait()


def _addresses(version: int) -> tuple[str, str]:
    """The peer's address and one's own."""
    if version == 6:
        return "fd00::2/64", "fd00::1/64"
    return "198.18.0.2/24", "198.18.0.1/24"


def offloaded_tcp(reader: str, version: int, is_ignored: bool = False) -> dict[str, Any]:
    """A real connection with TSO and GRO: rows beside what TCP itself counted."""
    address, own = _addresses(version)
    remote = (address.split("/")[0], 7)
    with peer_namespace(address, own), opened("v0", reader=reader) as rows:
        with socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET) as sock:
            sock.bind((own.split("/")[0], 0))
            if is_ignored:
                rows.capture.ignore(sock.getsockname()[:2], remote)
            sock.connect(remote)
            sock.sendall(bytes(3_000_000))
            sock.shutdown(socket.SHUT_WR)
            received = 0
            while data := sock.recv(1 << 20):
                received += len(data)
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
            time.sleep(0.1)
        sums = rows.sums()
    segs_out, segs_in = struct.unpack_from("II", info, 136)
    return {**sums, "segs_out": segs_out, "segs_in": segs_in, "received": received}


def offloaded_udp(reader: str, version: int) -> dict[str, Any]:
    """Datagrams sent both ways as super-packets; without UDP_GRO each is received by itself."""
    address, own = _addresses(version)
    with (
        peer_namespace(address, own, DATAGRAM_SERVER),
        opened("v0", reader=reader) as rows,
        socket.socket(
            socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_DGRAM
        ) as sock,
    ):
        sock.connect((address.split("/")[0], 7))
        sock.settimeout(10.0)
        for _ in range(100):
            # SOL_UDP, UDP_SEGMENT; Python names neither.
            sock.setsockopt(17, 103, 1400)
            sock.send(bytes(30_000))
            sock.setsockopt(17, 103, 0)
            sock.send(b"answer")
            received = [len(sock.recv(65536)) for _ in range(11)]
        return {**rows.sums(), "received": received}


def interface_that_goes(reader: str) -> list[Any]:
    """Packets counted before an interface goes, while it is away, and after it came back."""
    make_pair()
    frame = f.ethernet(f.ipv4(f.udp(), proto=17))
    with opened("v0", reader=reader) as rows:
        Sender("v0").send(frame, frame)
        before = rows.sums()["pkts_out"]
        ip("link del v0")
        time.sleep(0.3)
        away = rows.take()
        absent = rows.capture.absent()
        make_pair()
        time.sleep(0.3)
        returned = rows.take()
        Sender("v0").send(frame, frame, frame)
        after = rows.sums()["pkts_out"]
        ip("link set v0 down")
        down = rows.take()
        ip("link set v0 up")
        rows.capture.receive()
        Sender("v0").send(frame)
        up = rows.sums()["pkts_out"]
    return [
        before,
        [row["pkts_out"] for row in away],
        absent,
        [row["pkts_out"] for row in returned],
        after,
        [row["pkts_out"] for row in down],
        up,
    ]


def flood_without_reading(reader: str) -> dict[str, Any]:
    make_pair()
    frame = f.ethernet(f.ipv4(f.udp(payload=bytes(1000)), proto=17))
    with opened("v0", reader=reader) as rows:
        quiet = rows.take()
        sender = Sender("v0")
        for _ in range(40_000):
            sender.send(frame)
        flooded = rows.take()
        statistics = rows.capture.statistics()
        time.sleep(0.3)
        rows.take()
        sender.send(frame)
        after = rows.sums()
    return {
        "quiet": [row["pkts_out"] for row in quiet],
        "flooded": [row["pkts_out"] for row in flooded],
        "fields_of_flooded": [sorted({type(v).__name__ for v in row.values()}) for row in flooded],
        "packets": statistics.packets,
        "dropped": statistics.dropped,
        "after": after["pkts_out"],
    }


def two_interfaces(reader: str) -> list[Any]:
    make_pair()
    make_pair("w0", "w1")
    frame = f.ethernet(f.ipv4(f.udp(), proto=17))
    with opened("v0", "w0", "x9", reader=reader) as rows:
        Sender("v0").send(frame)
        Sender("w0").send(frame, frame)
        sums = rows.sums()
        return [sums["pkts_out"], sums["new_flows"], rows.capture.absent()]


def refused(names: list[str]) -> list[str]:
    """Reason and remedy of a capture that cannot be opened."""
    try:
        open_capture(names)
    except NoCapture as error:
        return [error.reason, error.remedy, str(error)]
    return []


def means(is_ring: bool) -> str:
    """By which means a capture reads."""
    capture = open_capture(["lo"], ring=is_ring)
    capture.close()
    return capture.means


def without_a_ring() -> list[str]:
    """The readers that are taken where the kernel refuses a ring, if it may be and if it must."""
    ring.N_BLOCKS = 1 << 20
    capture = open_capture(["lo"])
    taken = [type(reader).__name__ for reader in capture._readers]
    capture.close()
    try:
        open_capture(["lo"], ring=True)
    except NoCapture as error:
        taken += [error.reason.partition(" (")[0], error.remedy]
    return taken


def without_numpy() -> list[bool]:
    """Whether numpy was loaded by opening a capture, and whether blocks are counted in arrays."""
    sys.modules["numpy"] = None  # type: ignore[assignment]
    capture = open_capture(["lo"], ring=True)
    capture.close()
    return [ring.array_counter() is None, "cis490_pipeline.collect.readers.arrays" in sys.modules]

"""What the comparison with live capture does inside a network namespace."""

import io
import random
import socket
import struct
import time
from typing import Any

from cis490_pipeline.collect.contract import BUCKET_NS, NETFLOW_FIELDS
from cis490_pipeline.collect.recorded.device import Device
from cis490_pipeline.collect.recorded.packet_rows import PacketRows
from cis490_pipeline.collect.recorded.pcap import CaptureFile
from cis490_pipeline_tests.collect import frames as f
from cis490_pipeline_tests.collect.recorded.files import pcap
from cis490_pipeline_tests.collect.scenarios import Sender, mac_of, make_pair, opened

SO_TIMESTAMPNS = 35
N_PACKETS = 400


class Recorder:
    """Every frame of an interface with the kernel's time, as tcpdump records them."""

    def __init__(self, name: str) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.bind((name, 0))
        self.socket.setblocking(False)
        self.packets: list[tuple[int, bytes]] = []

    def read(self) -> None:
        while True:
            try:
                frame, extra, _, _ = self.socket.recvmsg(65536, 256)
            except BlockingIOError:
                return
            seconds, ns = struct.unpack("qq", extra[0][2][:16])
            self.packets.append((seconds * f.SECOND + ns, frame))


def both(reader: str) -> dict[str, Any]:
    """Rows of random traffic: captured live, and of a pcap recorded beside it."""
    rng = random.Random(7)
    make_pair()
    with opened("v0", reader=reader) as rows:
        recorder, device, peer = Recorder("v0"), Sender("v0"), Sender("v1")
        to_device = mac_of("v0")
        for _ in range(N_PACKETS):
            time.sleep(rng.expovariate(200))
            recorder.read()
            rows.capture.receive()
            port, flags = rng.randrange(1, 30), rng.choice((f.SYN, f.ACK, f.RST, f.SYN | f.ACK))
            # Ethernet pads frames of less than 46 bytes of payload.
            size = rng.randrange(40, 900)
            if rng.random() < 0.3:
                out = f.ipv4(f.udp(port, 53, bytes(size)), proto=17)
                back = f.ipv4(f.udp(53, port, bytes(size)), proto=17, src=f.PEER, dst=f.DEVICE)
            else:
                out = f.ipv4(f.tcp(port, 80, flags, bytes(size)))
                back = f.ipv4(f.tcp(80, port, flags, bytes(size)), src=f.PEER, dst=f.DEVICE)
            if rng.random() < 0.6:
                device.send(f.ethernet(out))
            else:
                peer.send(to_device + f.ethernet(back, outgoing=False)[6:])
        before_ns = rows.end_ns
        live = rows.take()
        anchor_ns = time.time_ns() - time.monotonic_ns()
        recorder.read()
    content = io.BytesIO(pcap(recorder.packets, unit_ns=1))
    edge_ns = before_ns + anchor_ns
    found = PacketRows(CaptureFile(content, "a.pcap"), Device([f.DEVICE]), edge_ns=edge_ns)
    recorded = {
        (row["t_wall_ns"] - edge_ns) // BUCKET_NS: [row[field] for field in NETFLOW_FIELDS]
        for row in found
    }
    of_live = {k: [row[field] for field in NETFLOW_FIELDS] for k, row in enumerate(live, 1)}
    return {
        "live": [of_live[k] for k in sorted(recorded) if k in of_live],
        "recorded": [recorded[k] for k in sorted(recorded) if k in of_live],
        "missing": sorted(set(recorded) - set(of_live)),
        "packets": len(recorder.packets),
    }

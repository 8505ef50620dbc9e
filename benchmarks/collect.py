"""What capturing costs: 50,000 packets/s, a flood of random ports, and silence, by both readers.

``python -m benchmarks.collect``; needs network namespaces (`unshare -Urn`), not root.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.collect_traffic import Transmitter, ipv4, mac_of, make_pair, paced, tcp
from benchmarks.measuring import Line, at_most, machine

RESULT = Path(__file__).parent / "results" / "collect.json"
ROOT = Path(__file__).parents[1]
READER = Path(__file__).with_name("collect_reader.py")
RATE_HZ = 50_000
N_FLOWS = 64
AT_ONCE = 100
DEVICE, PEER = bytes((192, 0, 2, 10)), bytes((198, 51, 100, 7))
SYN, ACK = 2, 16


def read_while(reader: str, send: Any) -> dict[str, Any]:
    """Run the reader beside a function that sends; return what it found."""
    process = subprocess.Popen(
        [sys.executable, str(READER), reader],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise SystemExit("the reader did not start; its message is above")
    # The bucket in which the capture was opened is left out.
    time.sleep(0.2)
    sent = send()
    process.stdin.close()
    found: dict[str, Any] = json.loads(process.stdout.read())
    process.wait()
    found["sent"] = sent
    return found


def two_way(seconds: float) -> int:
    """Send packets of 64 connections, half of them to the device; return how many."""
    device, peer = Transmitter("v0"), Transmitter("v1")
    there, back = mac_of("v1") + mac_of("v0"), mac_of("v0") + mac_of("v1")
    flows = [(40_000 + k, 443) for k in range(N_FLOWS)]
    device.fill([there + b"\x08\0" + ipv4(6, DEVICE, PEER, tcp(a, b, ACK, b"")) for a, b in flows])
    peer.fill(
        [back + b"\x08\0" + ipv4(6, PEER, DEVICE, tcp(b, a, ACK, bytes(120))) for a, b in flows]
    )
    sent = 0
    for n in paced(RATE_HZ, seconds, AT_ONCE):
        device.send(n // 2)
        peer.send(n - n // 2)
        sent += n
    return sent


def flood(seconds: float) -> int:
    """Send SYN of random ports, as a scan or a flood does; return how many."""
    device, rng = Transmitter("v0"), np.random.default_rng(0)
    macs = mac_of("v1") + mac_of("v0")
    device.fill([macs + b"\x08\0" + ipv4(6, DEVICE, PEER, tcp(1, 2, SYN, b""))])
    sent = 0
    for n in paced(RATE_HZ, seconds, AT_ONCE):
        device.send(n, rng)
        sent += n
    return sent


def silence(seconds: float) -> int:
    """Send nothing."""
    subprocess.run(["sleep", str(seconds)], check=True)
    return 0


READERS = {"ring": (5, 45), "ring-bare": (40, 18), "sockets": (50, 18)}
"""Readers, and the limits of their share of a core, %, and of memory, MB."""
TRAFFIC = {"silence": silence, "two_way": two_way, "flood": flood}


def measure(seconds: float) -> dict[str, Any]:
    """Measure each traffic with each reader, in the namespace this process is in."""
    make_pair()
    return {
        f"{name}_{reader}": read_while(reader, lambda send=send: send(seconds))
        for name, send in TRAFFIC.items()
        for reader in READERS
    }


def lines_of(found: dict[str, Any]) -> list[Line]:
    """Compare what was measured with what was wanted."""
    lines = []
    for reader, (share, memory) in READERS.items():
        quiet, busy, flooded = (found[f"{name}_{reader}"] for name in TRAFFIC)
        counted = busy.get("pkts_out", 0) + busy.get("pkts_in", 0)
        lines += [
            at_most(
                f"{reader}: dropped of {busy['sent']}", busy["kernel"]["dropped"], 0, unit="",
                detail=f"{counted} counted, {busy['buckets_without_amounts']} buckets unknown",
            ),
            at_most(
                f"{reader}: share of a core at {RATE_HZ} packets/s, %",
                busy["cpu_us_per_packet"] * RATE_HZ / 1e4, share, unit="%",
                detail=f"{busy['cpu_us_per_packet']:.2f} us a packet",
            ),
            at_most(
                f"{reader}: share of a core in silence, %",
                100 * quiet["share_of_a_core"], 0.5, unit="%",
                detail=f"{quiet['wake_ups_per_s']:.1f} wake-ups a second",
            ),
            at_most(f"{reader}: memory, MB", quiet["memory_peak_mb"], memory, unit="MB"),
            at_most(
                f"{reader}: growth in the second half of a flood, MB",
                flooded["memory_at_end_mb"] - flooded["memory_at_half_mb"], 1, unit="MB",
                detail=f"peak {flooded['memory_peak_mb']:.1f} MB, "
                f"{flooded['cpu_us_per_packet']:.2f} us a packet, "
                f"{flooded['kernel']['dropped']} of {flooded['sent']} dropped",
            ),
        ]  # fmt: skip
    return lines


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each traffic")
    parser.add_argument("--quick", action="store_true", help="three seconds each, nothing kept")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    seconds = 3.0 if options.quick else options.seconds
    if options.inside:
        print(json.dumps(measure(seconds)))
        return
    inside = [sys.executable, "-m", "benchmarks.collect", "--inside", "--seconds", str(seconds)]
    # Only root outside may raise a socket's buffer over the system's limit.
    namespace = "-n" if os.geteuid() == 0 else "-Urn"
    done = subprocess.run(
        ["unshare", namespace, *inside], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    lines = lines_of(found)
    for line in lines:
        met = "met" if line.met else "NOT MET"
        print(f"{line.name:<52} {line.measured:8.2f} {line.wanted:>8} {met}  {line.detail}")
    content = {"machine": machine(), **found, "lines": [line.to_dict() for line in lines]}
    if not options.quick:
        RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if all(line.met for line in lines) else 1)


if __name__ == "__main__":
    main()

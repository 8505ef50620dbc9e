"""Harmless mimics of malware profiles: what they look like in telemetry, and nothing else.

They encrypt no one's data, carry no exploit and know no address but the benchmarking range
198.18.0.0/15 (RFC 2544), which the recorder's network namespace answers by itself. Files are made
and removed under the guest's own scratch folder.
"""

import hashlib
import os
import random
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .protocol import Parameters

SCRATCH = Path(os.environ.get("SCRATCH", "/scratch"))
ANSWERING = "198.18"
"""Half of the range whose addresses answer: by RST, or on the ports in `OPEN_PORTS`."""
SILENT = "198.19"
OPEN_PORTS = (23, 80, 443, 4444, 8080)
Begun = Callable[[], None]


def address(rng: random.Random, *, silent: bool = False) -> str:
    """Return a random address of the benchmarking range."""
    return f"{SILENT if silent else ANSWERING}.{rng.randrange(1, 255)}.{rng.randrange(1, 255)}"


def spin(seconds: float) -> None:
    """Keep one processor busy."""
    end = time.monotonic() + seconds
    value = b"mimic"
    while time.monotonic() < end:
        for _ in range(200):
            value = hashlib.sha256(value).digest()


def _fork(n: int) -> None:
    """Continue in ``n`` processes of this process group."""
    for _ in range(n - 1):
        if os.fork() == 0:
            return


def armed(parameters: Parameters, begun: Begun, rng: random.Random) -> None:
    """Wait with a dropped payload: a file of random bytes and a sleeping process."""
    begun()
    with (SCRATCH / "payload").open("wb") as stream:
        for _ in range(int(parameters["payload_kib"])):
            stream.write(rng.randbytes(1024))
    (SCRATCH / "payload").chmod(0o700)
    while True:
        time.sleep(rng.uniform(2.0, 6.0))
        (SCRATCH / "payload").stat()


def infecting(parameters: Parameters, begun: Begun, rng: random.Random) -> None:
    """Install itself: short-lived processes, copies of the payload, bursts of computing."""
    begun()
    for number in range(1_000_000):
        subprocess.run(["/bin/busybox", "true"], check=True)
        copy = SCRATCH / f"install-{number % 8}"
        copy.write_bytes(rng.randbytes(int(parameters["copy_kib"]) * 1024))
        spin(0.05)
        with suppress(OSError), socket.create_connection((address(rng), 80), timeout=1.0):
            pass
        time.sleep(rng.expovariate(float(parameters["steps_per_s"])))


def dormant(parameters: Parameters, begun: Begun, rng: random.Random) -> None:
    """Idle, with a beacon at long intervals."""
    begun()
    while True:
        time.sleep(rng.uniform(0.7, 1.3) * float(parameters["beacon_s"]))
        with suppress(OSError), socket.create_connection((address(rng), 443), timeout=1.0) as s:
            s.sendall(rng.randbytes(64))
            # An answer left unread would end the connection with RST, which no beacon does.
            s.recv(4096)


def cpu_saturate(parameters: Parameters, begun: Begun, rng: random.Random) -> None:
    """Mimic a miner: processes that compute for a share of the time, and a pool connection."""
    share = float(parameters["share"])
    begun()
    _fork(int(parameters["processes"]))
    while True:
        spin(share)
        if share < 1.0:
            time.sleep(1.0 - share)


def low_and_slow(parameters: Parameters, begun: Begun, rng: random.Random) -> None:
    """Mimic a backdoor: small exchanges at jittered intervals, now and then a command."""
    begun()
    while True:
        with suppress(OSError), socket.create_connection((address(rng), 443), timeout=2.0) as s:
            s.sendall(rng.randbytes(int(parameters["bytes"])))
            s.settimeout(2.0)
            s.recv(4096)
        if rng.random() < 0.2:
            subprocess.run(["/bin/busybox", "ps"], check=False, stdout=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.6, 1.4) * float(parameters["every_s"]))


def io_walk(parameters: Parameters, begun: Begun, rng: random.Random) -> None:
    """Mimic ransomware: walk files of its own, read each, transform it and write it back."""
    folder = SCRATCH / "documents"
    folder.mkdir(exist_ok=True)
    n_files, size = int(parameters["files"]), int(parameters["file_kib"]) * 1024
    begun()
    while True:
        for number in range(n_files):
            path = folder / f"{number}.doc"
            content = path.read_bytes() if path.exists() else rng.randbytes(size)
            hashlib.sha256(content).digest()
            with path.open("wb") as stream:
                stream.write(content[::-1])
                stream.flush()
                os.fsync(stream.fileno())
            time.sleep(1.0 / float(parameters["files_per_s"]))


def scan_and_dial(parameters: Parameters, begun: Begun, rng: random.Random) -> None:
    """Mimic a botnet: connection attempts to many addresses, logins where a port is open."""
    ports = [int(port) for port in parameters["ports"]]
    pending: list[tuple[float, socket.socket]] = []
    begun()
    while True:
        target = address(rng, silent=rng.random() < float(parameters["silent_share"]))
        attempt = socket.socket()
        attempt.setblocking(False)
        with suppress(OSError):
            attempt.connect((target, rng.choice(ports)))
        pending.append((time.monotonic(), attempt))
        while pending and (time.monotonic() - pending[0][0] > 1.0 or len(pending) > 200):
            with suppress(OSError):
                pending[0][1].send(b"login: root\r\n")
            pending.pop(0)[1].close()
        time.sleep(rng.expovariate(float(parameters["per_s"])))


def exfil_burst(parameters: Parameters, begun: Begun, rng: random.Random) -> None:
    """Mimic a stealer: bursts of made-up data to one address."""
    target = address(rng)
    begun()
    while True:
        with suppress(OSError), socket.create_connection((target, 443), timeout=2.0) as s:
            for _ in range(int(parameters["burst_kib"]) // 16):
                s.sendall(rng.randbytes(16 * 1024))
            s.recv(4096)
        time.sleep(rng.uniform(0.5, 1.5) * float(parameters["every_s"]))


def flood(parameters: Parameters, begun: Begun, rng: random.Random) -> None:
    """Mimic a flooder: datagrams to one address of the range that never answers."""
    target = (address(rng, silent=True), int(parameters["port"]))
    payload = rng.randbytes(int(parameters["bytes"]))
    per_tick = max(1, int(parameters["per_s"]) // 50)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    begun()
    while True:
        end = time.monotonic() + 0.02
        for _ in range(per_tick):
            # A full queue drops the datagram, which is what a real flood meets too.
            with suppress(OSError):
                sender.sendto(payload, target)
        time.sleep(max(0.0, end - time.monotonic()))


def sham(parameters: Parameters, begun: Begun, rng: random.Random) -> None:
    """Do nothing: the process that every mimic runs in, as a control for it."""
    begun()
    while True:
        time.sleep(3600.0)


MIMICS: dict[str, Callable[[Parameters, Begun, random.Random], None]] = {
    "armed": armed,
    "infecting": infecting,
    "dormant": dormant,
    "cpu-saturate": cpu_saturate,
    "low-and-slow": low_and_slow,
    "io-walk": io_walk,
    "scan-and-dial": scan_and_dial,
    "exfil-burst": exfil_burst,
    "flood": flood,
    "sham": sham,
}

"""Benign look-alikes: work of an honest machine that is as busy as malware, in every phase."""

import hashlib
import os
import random
import socket
import subprocess
import time
import zlib
from collections.abc import Callable
from contextlib import suppress

from .mimics import SCRATCH, Begun, address, spin
from .protocol import Parameters

UPDATE_SERVER = "198.18.0.10"
STREAM_SERVER = "198.18.0.11"
DOWNLOAD_PORT, DISCARD_PORT = 5201, 9


def _download(n_bytes: int) -> None:
    """Fetch bytes from the recorder's sink, which sends as many as it is asked for."""
    with (
        suppress(OSError),
        socket.create_connection((UPDATE_SERVER, DOWNLOAD_PORT), timeout=3.0) as connection,
    ):
        connection.sendall(f"{n_bytes}\n".encode())
        while connection.recv(65536):
            pass


def package_update(parameters: Parameters, begun: Begun, rng: random.Random) -> None:
    """Fetch packages, unpack them to disk, run their short scripts."""
    begun()
    while True:
        _download(int(parameters["package_kib"]) * 1024)
        with (SCRATCH / "package").open("wb") as stream:
            stream.write(rng.randbytes(int(parameters["package_kib"]) * 1024))
            os.fsync(stream.fileno())
        spin(0.1)
        for _ in range(5):
            subprocess.run(["/bin/busybox", "true"], check=True)
        time.sleep(rng.uniform(0.1, 0.8))


def backup(parameters: Parameters, begun: Begun, rng: random.Random) -> None:
    """Read files, compress them, write an archive and sync it."""
    source = SCRATCH / "home"
    with source.open("wb") as stream:
        # In pieces: a guest of 128 MB has some 50 to spare.
        for _ in range(int(parameters["mib"]) << 4):
            stream.write(rng.randbytes(1 << 16))
    begun()
    while True:
        with source.open("rb") as reading, (SCRATCH / "backup").open("wb") as writing:
            while piece := reading.read(1 << 16):
                writing.write(zlib.compress(piece, 1))
            os.fsync(writing.fileno())
        time.sleep(rng.uniform(0.2, 1.0))


def compile_(parameters: Parameters, begun: Begun, rng: random.Random) -> None:
    """Compute in short processes, as a build does, and write their outputs."""
    begun()
    while True:
        jobs = []
        for number in range(int(parameters["jobs"])):
            # Drawn here: a child that drew for itself would draw the same in every round.
            length_s = rng.uniform(0.2, 0.9)
            pid = os.fork()
            if pid == 0:
                spin(length_s)
                (SCRATCH / f"{number}.o").write_bytes(os.urandom(16384))
                os._exit(0)
            jobs.append(pid)
        for pid in jobs:
            os.waitpid(pid, 0)


def speed_test(parameters: Parameters, begun: Begun, rng: random.Random) -> None:
    """Download, then upload, as fast as the line allows."""
    begun()
    while True:
        _download(int(parameters["mib"]) << 20)
        with (
            suppress(OSError),
            socket.create_connection((UPDATE_SERVER, DISCARD_PORT), timeout=3.0) as connection,
        ):
            for _ in range(int(parameters["mib"]) << 4):
                connection.sendall(bytes(65536))
            connection.recv(4096)
        time.sleep(rng.uniform(0.5, 2.0))


def web_server(parameters: Parameters, begun: Begun, rng: random.Random) -> None:
    """Answer requests: a client in the same machine, and fetches from an upstream server."""
    begun()
    page = rng.randbytes(4096)
    while True:
        _download(int(parameters["page_kib"]) * 1024)
        hashlib.sha256(zlib.compress(page * 8)).digest()
        with (SCRATCH / "access.log").open("a") as log:
            log.write("GET / 200\n")
        time.sleep(rng.expovariate(float(parameters["requests_per_s"])))


def database(parameters: Parameters, begun: Begun, rng: random.Random) -> None:
    """Write small records to a journal and sync each."""
    begun()
    with (SCRATCH / "journal").open("wb") as journal:
        while True:
            journal.write(rng.randbytes(4096))
            journal.flush()
            os.fdatasync(journal.fileno())
            if journal.tell() > 1 << 23:
                journal.seek(0)
            time.sleep(rng.expovariate(float(parameters["writes_per_s"])))


def log_rotation(parameters: Parameters, begun: Begun, rng: random.Random) -> None:
    """Write logs, compress and remove them."""
    begun()
    while True:
        text = b"".join(b"%d line of a log\n" % rng.randrange(10**9) for _ in range(10_000))
        (SCRATCH / "log.1").write_bytes(text * int(parameters["copies"]))
        (SCRATCH / "log.1.gz").write_bytes(zlib.compress((SCRATCH / "log.1").read_bytes(), 6))
        (SCRATCH / "log.1").unlink()
        time.sleep(rng.uniform(1.0, 4.0))


def port_monitor(parameters: Parameters, begun: Begun, rng: random.Random) -> None:
    """Check the ports of a list of servers, round by round: a scan with a good reason."""
    servers = [address(rng) for _ in range(int(parameters["servers"]))]
    begun()
    while True:
        for server in servers:
            with suppress(OSError), socket.create_connection((server, 80), timeout=0.5):
                pass
            time.sleep(rng.uniform(0.02, 0.1))
        time.sleep(float(parameters["pause_s"]))


def video(parameters: Parameters, begun: Begun, rng: random.Random) -> None:
    """Send a constant stream of datagrams, as a camera does."""
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    begun()
    while True:
        for _ in range(max(1, int(parameters["kbit_per_s"]) // (25 * 8 * 1200 // 1000))):
            with suppress(OSError):
                sender.sendto(bytes(1200), (STREAM_SERVER, 5004))
        time.sleep(0.04)


def desktop(parameters: Parameters, begun: Begun, rng: random.Random) -> None:
    """Work in bursts with pauses, as a person at a screen does: computing, files, pages."""
    begun()
    while True:
        spin(rng.uniform(0.05, 0.6))
        if rng.random() < 0.4:
            _download(rng.randrange(20, 400) * 1024)
        if rng.random() < 0.2:
            (SCRATCH / "draft").write_bytes(rng.randbytes(200_000))
        time.sleep(rng.expovariate(float(parameters["actions_per_s"])))


BENIGN: dict[str, Callable[[Parameters, Begun, random.Random], None]] = {
    "package-update": package_update,
    "backup": backup,
    "compile": compile_,
    "speed-test": speed_test,
    "web-server": web_server,
    "database": database,
    "log-rotation": log_rotation,
    "port-monitor": port_monitor,
    "video": video,
    "desktop": desktop,
}

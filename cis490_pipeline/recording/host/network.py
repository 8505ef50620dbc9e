"""Network of one machine: a namespace of its own with a tap and sinks; nothing leaves it."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from cis490_pipeline.compute.process import dies_with
from cis490_pipeline.errors import RecordingError
from cis490_pipeline.recording.host.machine import GATEWAY_ADDRESS, TAP
from cis490_pipeline.recording.plan import Link

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_COMMANDS: Final = (
    "ip link set lo up",
    f"ip tuntap add {TAP} mode tap",
    f"ip addr add {GATEWAY_ADDRESS}/24 dev {TAP}",
    f"ip link set {TAP} up",
    # Half of the benchmarking range is this namespace itself: a closed port answers by RST.
    "ip route add local 198.18.0.0/16 dev lo",
    # The other half is silent.
    "ip route add blackhole 198.19.0.0/16 table local",
)


def enter_namespace() -> None:
    """Move this process into a network namespace of its own, without any way out of it.

    An ordinary user gets a user namespace with it, in which it may make a tap.

    Raises
    ------
    RecordingError
        If this system does not allow it.
    """
    user, group = os.geteuid(), os.getegid()
    flags = _CLONE_NEWNET if user == 0 else _CLONE_NEWNET | _CLONE_NEWUSER
    if _LIBC.unshare(flags) != 0:
        text = os.strerror(ctypes.get_errno())
        raise RecordingError(
            f"a network namespace is refused here ({text}); allow user namespaces "
            "(sysctl kernel.unprivileged_userns_clone=1), or record as root"
        )
    if user:
        own = Path("/proc/self")
        (own / "setgroups").write_text("deny")
        (own / "uid_map").write_text(f"0 {user} 1")
        (own / "gid_map").write_text(f"0 {group} 1")


def build_network(link: Link | None) -> None:
    """Make the tap, the routes of the benchmarking range and the link's conditions.

    Raises
    ------
    RecordingError
        With the command that failed.
    """
    for name in ("all", "default"):
        switch = Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
        # Otherwise this host's neighbour discovery is in the guest's traffic.
        if switch.exists():
            switch.write_text("1")
    commands = [command.split() for command in _COMMANDS]
    if link is not None:
        commands.append(link_command(link))
    for command in commands:
        program = shutil.which(command[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if program is None:
            raise RecordingError(f"{command[0]} is not installed: apt-get install iproute2")
        done = subprocess.run(  # noqa: S603
            [program, *command[1:]], check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise RecordingError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")


def link_command(link: Link, device: str = TAP) -> list[str]:
    """Return the command that gives a device's link its conditions."""
    rate = ["rate", f"{link.rate_kbit}kbit"] if link.rate_kbit else []
    netem = ["delay", f"{link.delay_ms}ms", "loss", f"{link.loss_percent}%", *rate]
    return ["tc", "qdisc", "add", "dev", device, "root", "netem", *netem]


def start_sinks() -> "subprocess.Popen[bytes]":
    """Start the servers that answer the guest, in this namespace, and wait until they listen.

    Raises
    ------
    RecordingError
        If they do not start.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "cis490_pipeline.recording.host.sinks"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        preexec_fn=dies_with(os.getpid()),  # noqa: PLW1509 (this process has one thread)
    )
    if process.stdout is None or process.stdout.readline() != b"ready\n":
        process.kill()
        raise RecordingError(f"the sinks of the network did not start (status {process.wait()})")
    return process

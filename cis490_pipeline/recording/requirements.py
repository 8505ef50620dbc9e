"""What recording needs of this machine, and how to get what is missing."""

import ctypes
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cis490_pipeline.errors import RecordingError
from cis490_pipeline.recording.host.limits import limits_refused
from cis490_pipeline.recording.host.network import link_command
from cis490_pipeline.recording.plan import Link, RecordingPlan

SYSTEM_PATH: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_PROGRAMS: Final = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "mke2fs": "e2fsprogs",
    "ip": "iproute2",
    "tc": "iproute2",
}
"""Programs and the Debian packages that hold them."""
_TIME_ERROR: Final = 5
_TIMEX_BYTES: Final = 512


@dataclass(frozen=True)
class Lack:
    """Something that is missing, and its remedy."""

    what: str
    remedy: str


def lacking_here(boot: Path = Path("/boot"), path: str = SYSTEM_PATH) -> list[Lack]:
    """Return what this machine lacks to build an image and to record, besides a true clock.

    Parameters
    ----------
    boot : folder of the installed kernels.
    path : where programs are looked for.
    """
    lacks = [
        Lack(program, f"apt-get install {package}")
        for program, package in _PROGRAMS.items()
        if shutil.which(program, path=path) is None
    ]
    if not [*boot.glob("vmlinuz-*-cloud-*")]:
        lacks.append(Lack("a cloud kernel", "apt-get install linux-image-cloud-amd64"))
    if importlib.util.find_spec("qemu") is None:
        lacks.append(Lack("qemu.qmp", "pip install 'cis490_pipeline[record]'"))
    if not _may_unshare(path):
        remedy = (
            "record as root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1"
        )
        lacks.append(Lack("network namespaces", remedy))
    if not Path("/dev/net/tun").exists():
        lacks.append(Lack("/dev/net/tun", "modprobe tun"))
    return lacks


def lacking_for(plan: RecordingPlan, path: str = SYSTEM_PATH) -> list[Lack]:
    """Return what this machine lacks for the hosts that a plan describes, by trying it.

    Parameters
    ----------
    plan : the plan.
    path : where programs are looked for.
    """
    lacks = []
    linked = [host.name for host in plan.host if host.link is not None]
    # Tried in a namespace of its own: a list of modules misses what is built in.
    if linked and (reason := _netem_refused(path)):
        remedy = (
            "modprobe sch_netem; where this kernel was built without it, record on a machine "
            "whose kernel has it, or take `link` out of these hosts"
        )
        lacks.append(Lack(f"the kernel module sch_netem ({reason}) {_for(linked)}", remedy))
    limited = [host.name for host in plan.host if host.cpu_percent is not None]
    if limited and (reason := limits_refused()):
        remedy = "record as root, or take `cpu_percent` out of these hosts"
        lacks.append(Lack(f"control groups ({reason}) {_for(limited)}", remedy))
    return lacks


def assert_fit(plan: RecordingPlan) -> None:
    """Check that this machine can give a plan's hosts what the plan says.

    Raises
    ------
    RecordingError
        Naming everything that is missing, for which hosts, and the remedies.
    """
    if lacks := lacking_for(plan):
        raise RecordingError(
            "this machine cannot record the plan: it lacks "
            + "; it lacks ".join(f"{lack.what}: {lack.remedy}" for lack in lacks)
        )


def _for(hosts: list[str]) -> str:
    return f"for {'host' if len(hosts) == 1 else 'hosts'} {', '.join(hosts)}"


def _netem_refused(path: str) -> str | None:
    """Return why a link cannot be given a delay, by giving one to a new namespace's loopback."""
    done = _in_new_namespace(path, *link_command(Link(delay_ms=1), "lo"))
    if done is None:
        return "not tried, because network namespaces are refused"
    return None if done.returncode == 0 else " ".join(done.stderr.split()) or "tc failed"


def _may_unshare(path: str) -> bool:
    done = _in_new_namespace(path, "/bin/true")
    return done is not None and done.returncode == 0


def _in_new_namespace(path: str, *command: str) -> "subprocess.CompletedProcess[str] | None":
    """Run a command in a network namespace of its own; None without the program for it."""
    program = shutil.which("unshare", path=path)
    if program is None:
        return None
    flags = "-n" if os.geteuid() == 0 else "-Urn"
    return subprocess.run(  # noqa: S603
        [program, flags, *command],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path, "LC_ALL": "C"},
    )


def clock_is_synchronised() -> bool:
    """Whether the kernel takes its clock for synchronised, see adjtimex(2)."""
    # Modes of zero: the call only reads. The structure is larger on no system.
    state = ctypes.create_string_buffer(_TIMEX_BYTES)
    return int(ctypes.CDLL(None).adjtimex(state)) != _TIME_ERROR

"""What recording needs of this machine, and how to get what is missing."""

import ctypes
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SYSTEM_PATH: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_PROGRAMS: Final = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "mke2fs": "e2fsprogs",
    "ip": "iproute2",
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
    """Return what this machine lacks to build an image and to record.

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
    if not _is_synchronised():
        lacks.append(Lack("a synchronised clock", "timedatectl set-ntp true"))
    return lacks


def _may_unshare(path: str) -> bool:
    program = shutil.which("unshare", path=path)
    if program is None:
        return False
    flags = "-n" if os.geteuid() == 0 else "-Urn"
    done = subprocess.run([program, flags, "/bin/true"], check=False, capture_output=True)  # noqa: S603
    return done.returncode == 0


def _is_synchronised() -> bool:
    """Whether the kernel takes its clock for synchronised, see adjtimex(2)."""
    # Modes of zero: the call only reads. The structure is larger on no system.
    state = ctypes.create_string_buffer(_TIMEX_BYTES)
    return int(ctypes.CDLL(None).adjtimex(state)) != _TIME_ERROR

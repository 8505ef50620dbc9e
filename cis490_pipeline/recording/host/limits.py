"""Limit of a machine's processor time, by a control group of its own."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from cis490_pipeline.errors import RecordingError

_PERIOD_US: Final = 100_000
_PREFIX: Final = "cis490-"
_MOUNT: Final = Path("/sys/fs/cgroup")


@contextmanager
def limited(pid: int, percent: int | None, mount: Path = _MOUNT) -> Iterator[None]:
    """Limit a process to a share of processor time while the block runs.

    Parameters
    ----------
    pid : process id of QEMU, all of whose threads are limited together.
    percent : share of one core; ``None`` limits nothing.
    mount : where control groups are; version 2, or the ``cpu`` hierarchy of version 1.

    Raises
    ------
    RecordingError
        If this user may make no control group here.
    """
    if percent is None:
        yield
        return
    unified = (mount / "cgroup.controllers").exists()
    parent = mount if unified else mount / "cpu"
    _remove_stale(parent)
    group = parent / f"{_PREFIX}{os.getpid()}"
    quota = percent * _PERIOD_US // 100
    settings = (
        {"cpu.max": f"{quota} {_PERIOD_US}"}
        if unified
        else {"cpu.cfs_period_us": str(_PERIOD_US), "cpu.cfs_quota_us": str(quota)}
    )
    try:
        group.mkdir()
        for name, value in {**settings, "cgroup.procs": str(pid)}.items():
            (group / name).write_text(value)
    except OSError as refused:
        with suppress(OSError):
            group.rmdir()
        raise RecordingError(
            f"{group}: processor time cannot be limited ({refused.strerror}); record as root, or "
            "leave out cpu_percent"
        ) from refused
    try:
        yield
    finally:
        _remove(group, parent)


def limits_refused(mount: Path = _MOUNT) -> str | None:
    """Return why no process can be limited here, by limiting one; None if it can."""
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        try:
            with limited(process.pid, 100, mount):
                return None
        except RecordingError as refused:
            return str(refused.__cause__)
        finally:
            process.kill()


def _remove_stale(parent: Path) -> None:
    """Remove the empty groups of lanes that were killed."""
    for group in parent.glob(f"{_PREFIX}*"):
        if not Path(f"/proc/{group.name.removeprefix(_PREFIX)}").exists():
            # One that still holds a process cannot be removed, and is not stale.
            with suppress(OSError):
                group.rmdir()


def _remove(group: Path, parent: Path) -> None:
    """Remove a group after moving what still runs in it to its parent."""
    for pid in (group / "cgroup.procs").read_text().split():
        (parent / "cgroup.procs").write_text(pid)
    group.rmdir()

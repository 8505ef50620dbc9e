"""Pressure on this host during a run: a hidden variable of every recording unless it is noted."""

import os
import platform
from pathlib import Path
from typing import Final, TypedDict

from cis490_pipeline.domain import NS_PER_S
from cis490_pipeline.recording.host.proc import ProcessReader

_RESOURCES: Final = ("cpu", "io", "memory")


class HostPressure(TypedDict):
    """``meta.host_pressure``."""

    duration_s: float
    processors: int
    load_1m: float
    some_share: dict[str, float | None]
    """Share of the time in which some task waited for the resource (PSI); null: not known."""
    qemu_run_s: float
    qemu_wait_s: float
    qemu_wait_share: float | None
    """Share of QEMU's runnable time in which it waited for a processor."""


class PressureMeter:
    """Pressure between two moments."""

    def __init__(self, process: ProcessReader, begin_ns: int, root: Path = Path("/proc")) -> None:
        self._process, self._begin_ns, self._root = process, begin_ns, root
        self._begin_us = {name: self._stalled_us(name) for name in _RESOURCES}
        self._begin_scheduled = process.scheduled_ns()

    def tick(self) -> None:
        """Note how long QEMU's threads ran and waited, before short-lived ones end."""
        self._process.scheduled_ns()

    def measured(self, end_ns: int) -> HostPressure:
        """Return the pressure since the start.

        Parameters
        ----------
        end_ns : time of the end, by the clock of ``begin_ns``.
        """
        duration_s = (end_ns - self._begin_ns) / NS_PER_S
        ran_s, waited_s = (
            (now - begin) / NS_PER_S
            for now, begin in zip(self._process.scheduled_ns(), self._begin_scheduled, strict=True)
        )
        shares: dict[str, float | None] = {}
        for name, begin_us in self._begin_us.items():
            now_us = self._stalled_us(name)
            known = begin_us is not None and now_us is not None and duration_s > 0
            shares[name] = round((now_us - begin_us) / 1e6 / duration_s, 4) if known else None  # type: ignore[operator]
        return {
            "duration_s": round(duration_s, 3),
            "processors": len(os.sched_getaffinity(0)),
            "load_1m": os.getloadavg()[0],
            "some_share": shares,
            "qemu_run_s": round(ran_s, 3),
            "qemu_wait_s": round(waited_s, 3),
            "qemu_wait_share": round(waited_s / (ran_s + waited_s), 4)
            if ran_s + waited_s
            else None,
        }

    def _stalled_us(self, name: str) -> int | None:
        """Return the total of PSI's line ``some``, µs; None where the kernel has no PSI."""
        try:
            text = (self._root / "pressure" / name).read_text()
        except OSError:
            return None
        some = text.splitlines()[0].split()
        return int(some[-1].removeprefix("total="))


def cpu_model(root: Path = Path("/proc")) -> str | None:
    """Return the name of this host's processor."""
    return _cpuinfo(root, "model name") or platform.machine() or None


def cpu_flags(root: Path = Path("/proc")) -> str | None:
    """Return the features of this host's processor: an emulator's speed follows them."""
    return _cpuinfo(root, "flags") or _cpuinfo(root, "Features")


def _cpuinfo(root: Path, name: str) -> str | None:
    """Return a value of the first processor."""
    for line in (root / "cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None

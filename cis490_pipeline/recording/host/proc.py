"""Readings of a process from ``/proc``: the channels of ``proc``, and its wait for processors."""

import resource
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cis490_pipeline.errors import RecordingError

PAGE_BYTES: Final = resource.getpagesize()
_STAT_FIELDS: Final = {
    "minor_faults": 10,
    "major_faults": 12,
    "cpu_user_jiffies": 14,
    "cpu_sys_jiffies": 15,
    "num_threads": 20,
}
"""Numbers of the fields as in proc(5)."""
_RSS_FIELD: Final = 24
_IO_FIELDS: Final = {
    "read_bytes": "io_read_bytes",
    "write_bytes": "io_write_bytes",
    "syscr": "io_read_calls",
    "syscw": "io_write_calls",
}


class ThreadSum:
    """Sum of counters over a process's threads that never falls.

    Each thread's growth is added up: a plain sum falls when a thread ends, and QEMU's worker
    threads come and go by the second.
    """

    def __init__(self, n: int) -> None:
        self._last: dict[int, tuple[int, ...]] = {}
        self.totals = [0] * n

    def add(self, readings: Mapping[int, tuple[int, ...]]) -> None:
        """Add the growth of each thread since the last call.

        Parameters
        ----------
        readings : counters by thread id; a thread that counts less than before is a new one.
        """
        for thread, counts in readings.items():
            before = self._last.get(thread, ())
            if len(before) != len(counts) or any(
                b > c for b, c in zip(before, counts, strict=True)
            ):
                before = (0,) * len(counts)
            for k, (b, c) in enumerate(zip(before, counts, strict=True)):
                self.totals[k] += c - b
        self._last = dict(readings)


class ProcessReader:
    """Reader of one process.

    Parameters
    ----------
    pid : process id of QEMU.
    root : where ``/proc`` is.
    """

    def __init__(self, pid: int, root: Path = Path("/proc")) -> None:
        self._folder = root / str(pid)
        self._switches = ThreadSum(2)
        self._scheduled = ThreadSum(2)

    def read(self) -> dict[str, int]:
        """Return one reading of all ``proc`` channels.

        Raises
        ------
        RecordingError
            If the process has ended.
        """
        try:
            stat = (self._folder / "stat").read_text()
            io = (self._folder / "io").read_text()
            tasks = list((self._folder / "task").iterdir())
        except (FileNotFoundError, ProcessLookupError) as gone:
            raise RecordingError(f"{self._folder}: QEMU has ended") from gone
        except PermissionError as refused:
            raise RecordingError(
                f"{self._folder}: may not be read; record as the user who runs QEMU, or as root"
            ) from refused
        # The second field is the program's name in brackets and may hold spaces and brackets.
        fields = stat.rpartition(")")[2].split()
        reading = {name: int(fields[number - 3]) for name, number in _STAT_FIELDS.items()}
        reading["rss_bytes"] = int(fields[_RSS_FIELD - 3]) * PAGE_BYTES
        for line in io.splitlines():
            key, _, value = line.partition(":")
            if key in _IO_FIELDS:
                reading[_IO_FIELDS[key]] = int(value)
        self._switches.add(_read_threads(tasks, "status", _switches))
        reading["ctxt_voluntary"], reading["ctxt_involuntary"] = self._switches.totals
        return reading

    def scheduled_ns(self) -> tuple[int, int]:
        """Return how long its threads ran, and how long they waited for a processor, ns.

        Threads that lived between two calls only are missed; call it every second.
        """
        try:
            tasks = list((self._folder / "task").iterdir())
        except (FileNotFoundError, ProcessLookupError):
            tasks = []
        self._scheduled.add(_read_threads(tasks, "schedstat", _run_and_wait))
        ran_ns, waited_ns = self._scheduled.totals
        return ran_ns, waited_ns


def _read_threads(
    tasks: list[Path], name: str, parse: Callable[[str], tuple[int, ...]]
) -> dict[int, tuple[int, ...]]:
    readings: dict[int, tuple[int, ...]] = {}
    for task in tasks:
        try:
            text = (task / name).read_text()
        except (FileNotFoundError, ProcessLookupError):
            # The thread ended since its folder was listed; what it counted last was added.
            continue
        readings[int(task.name)] = parse(text)
    return readings


def _switches(status: str) -> tuple[int, ...]:
    lines = dict(line.partition(":")[::2] for line in status.splitlines())
    return int(lines["voluntary_ctxt_switches"]), int(lines["nonvoluntary_ctxt_switches"])


def _run_and_wait(schedstat: str) -> tuple[int, ...]:
    ran_ns, waited_ns, _ = schedstat.split()
    return int(ran_ns), int(waited_ns)

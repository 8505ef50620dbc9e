"""Status rows: what an agent knows of itself, for a reader that has to judge its rows."""

from __future__ import annotations

import os
import time
from collections import deque

from cis490_pipeline.collect.contract import NS_PER_S, STATUS_PERIOD_S, STATUS_SOURCE
from cis490_pipeline.collect.guest import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cis490_pipeline.collect.contract import Row

VERSION = "0.1.0"
"""Version of this package, which the agent does without."""
PERIOD_NS = STATUS_PERIOD_S * NS_PER_S
_LATENESSES = 600
"""Latest ticks that the percentile is taken over: ten minutes of guest rows."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Lateness:
    """How late the latest ticks were taken."""

    def __init__(self) -> None:
        self._late_ns: deque[int] = deque(maxlen=_LATENESSES)

    def add(self, late_ns: int) -> None:
        """Add a tick."""
        self._late_ns.append(late_ns)

    def p99_ms(self) -> float | None:
        """99th percentile, ms; None before the first tick."""
        if not self._late_ns:
            return None
        ordered = sorted(self._late_ns)
        # The smallest value that at least 99 of 100 do not exceed.
        return round(ordered[-(-99 * len(ordered) // 100) - 1] / 1e6, 3)


class OwnUse:
    """Processor time and memory of this process."""

    def __init__(self) -> None:
        self._was = time.monotonic_ns(), time.process_time_ns()

    def cpu_percent(self) -> float | None:
        """Share of one core since the last answer, percent; None if that was just now."""
        now = time.monotonic_ns(), time.process_time_ns()
        wall_ns, cpu_ns = now[0] - self._was[0], now[1] - self._was[1]
        if wall_ns < NS_PER_S:
            return None
        self._was = now
        return round(100 * cpu_ns / wall_ns, 3)

    @staticmethod
    def rss_bytes() -> int | None:
        """Resident memory; None where ``/proc`` does not say."""
        try:
            return int(read_file("/proc/self/statm").split()[1]) * _PAGE_BYTES
        except (OSError, IndexError, ValueError):
            return None


def boot_id() -> str | None:
    """Return the id that the kernel drew for this boot; None if it is not to be read."""
    try:
        return read_file("/proc/sys/kernel/random/boot_id").decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def device_name(host_name: str) -> str:
    """Return a host's name in the form of the format's ``host_id``."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in host_name)
    return kept.lstrip("._-")[:63] or "device"


def lost_fields(row: Row, names: Iterable[str]) -> list[str]:
    """List the fields that a row does not know."""
    return [name for name in names if row.get(name) is None]


def status_row(wall_ns: int, mono_ns: int, facts: Row) -> Row:
    """Return a status row."""
    return {
        "t_wall_ns": wall_ns,
        "t_mono_ns": mono_ns,
        "source": STATUS_SOURCE,
        "available_in_deployment": True,
        **facts,
    }

"""Ratios that mean something on a shared machine: interleaved, CPU time, medians."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Line:
    """One line of the table: what was measured, and what was asked of it."""

    name: str
    measured: float
    wanted: str
    met: bool
    unit: str = "×"
    detail: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the line as JSON has it."""
        return asdict(self)


def at_most(name: str, measured: float, limit: float, *, unit: str = "×", detail: str = "") -> Line:
    return Line(name, measured, f"≤ {limit:g}", measured <= limit, unit, detail)


def at_least(
    name: str, measured: float, limit: float, *, unit: str = "×", detail: str = ""
) -> Line:
    return Line(name, measured, f"≥ {limit:g}", measured >= limit, unit, detail)


def interleaved(
    works: Mapping[str, Callable[[], object]],
    *,
    repetitions: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """Seconds of each work, one after another in every round, so that all see the same neighbours.

    The first round warms up and is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for round_ in range(repetitions + 1):
        for name, work in works.items():
            start = clock()
            work()
            if round_:
                seconds[name].append(clock() - start)
    return seconds


def ratio(seconds: Mapping[str, list[float]], above: str, below: str) -> float:
    """Median over the rounds of one work's time by another's of the same round."""
    pairs = zip(seconds[above], seconds[below], strict=True)
    return statistics.median(a / b for a, b in pairs)


def median_ms(seconds: Mapping[str, list[float]], name: str, n: int) -> float:
    """Milliseconds for each of ``n`` episodes."""
    return statistics.median(seconds[name]) / n * 1e3


def machine() -> dict[str, Any]:
    """Describe where this ran, the neighbours' load included."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    models = [line.partition(":")[2].strip() for line in info.splitlines() if "model name" in line]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": platform.platform(),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "threads_per_process": os.environ.get("OMP_NUM_THREADS", "not set"),
    }

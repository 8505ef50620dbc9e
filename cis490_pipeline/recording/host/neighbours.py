"""Neighbours of a machine: processes that compete with it for this host's processors and caches.

Each computes in bursts at random times and is bounded to a small share of a core by its own count
of processor time, whatever else runs: four lanes with three neighbours each take three quarters
of one core.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypedDict

from cis490_pipeline.compute.process import dies_with

SHARE: Final = 0.06
"""Share of one core that a neighbour takes, in the mean."""
_BURST_S: Final = (0.02, 0.3)
_BUFFER_BYTES: Final = 4 << 20
"""Beyond the second-level cache: a neighbour takes memory bandwidth too."""
_STEP: Final = 4096
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class NeighbourUse(TypedDict):
    """One of ``meta.recording.neighbours``: what a neighbour took."""

    share: float
    """Share of one core that was wanted."""
    cpu_s: float
    duration_s: float


@contextmanager
def neighbours(n: int, seed: int) -> Iterator[Callable[[], list[NeighbourUse]]]:
    """Run neighbours while the block runs.

    Parameters
    ----------
    n : their number.
    seed : of their bursts.

    Yields
    ------
    callable
        Returns what each has taken since it was started.
    """
    command = [sys.executable, "-m", __name__]
    began_s = time.monotonic()
    processes = [
        subprocess.Popen(  # noqa: S603
            [*command, f"{seed}.{k}"],
            stdin=subprocess.DEVNULL,
            preexec_fn=dies_with(os.getpid()),  # noqa: PLW1509 (this process has one thread)
        )
        for k in range(n)
    ]

    def use() -> list[NeighbourUse]:
        duration_s = round(time.monotonic() - began_s, 3)
        return [
            {"share": SHARE, "cpu_s": _cpu_s(process.pid), "duration_s": duration_s}
            for process in processes
        ]

    try:
        yield use
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _cpu_s(pid: int) -> float:
    """Return the processor time of a process that was not waited for, s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def compete(rng: random.Random, share: float, seconds: float = float("inf")) -> None:
    """Compute in bursts, with pauses that keep this process to a share of one core.

    Parameters
    ----------
    rng : draws lengths of bursts and pauses.
    share : processor time divided by time, in the mean.
    seconds : when to end.
    """
    buffer = bytearray(_BUFFER_BYTES)
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        used_s = time.process_time()
        until_s = used_s + rng.uniform(*_BURST_S)
        while time.process_time() < until_s:
            for place in range(0, _BUFFER_BYTES, _STEP):
                buffer[place] = (buffer[place] + 1) & 0xFF
        used_s = time.process_time() - used_s
        # Measured, not planned: on a busy host a burst takes long and costs no more for it.
        time.sleep(used_s * (1.0 / share - 1.0) * rng.uniform(0.5, 1.5))


if __name__ == "__main__":
    compete(random.Random(sys.argv[1]), SHARE)  # noqa: S311

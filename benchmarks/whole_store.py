"""Sweeping and extracting whole stores: parallel, incremental, in bounded memory; cold batches."""

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl

from benchmarks import cold_batches
from benchmarks.measuring import Line, at_least, at_most, ratio
from benchmarks.stores import grown_store
from cis490_pipeline.compute import ProcessCompute
from cis490_pipeline.compute.progress import Progress
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.verdicts.sweep import sweep

WORKERS = 2
_POLL_S = 0.02
SPINS = 1_500_000
N_SPINS = 80

_SWEEP = """
import sys, time, polars as pl
from pathlib import Path
from cis490_pipeline.compute import ProcessCompute
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.verdicts.sweep import sweep
if __name__ == "__main__":
    store, made = Path(sys.argv[1]), Path(sys.argv[2])
    made.mkdir(parents=True, exist_ok=True)
    result = sweep(LocalStore(store), None, ProcessCompute(2))
    result.frame.write_parquet(made / "validation.parquet")
"""
_EXTRACT = """
import sys, polars as pl
from pathlib import Path
from cis490_pipeline.compute import ProcessCompute
from cis490_pipeline.features.grids.build import build_grids
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.verdicts.eligibility import usable_expr
if __name__ == "__main__":
    store, made = Path(sys.argv[1]), Path(sys.argv[2])
    frame = pl.read_parquet(made / "validation.parquet").filter(usable_expr())
    build_grids(LocalStore(store), frame, made / "grids", ProcessCompute(2))
"""


def measure(scratch: Path, n_episodes: int) -> tuple[list[Line], dict[str, float]]:
    """Return lines of the table, and figures for the projection."""
    small_n = max(n_episodes // 5, 1)
    small = grown_store(scratch / "small", small_n)
    large = grown_store(scratch / "large", n_episodes)
    figures: dict[str, float] = {}
    lines = _parallel(small, figures)

    for task, code in (("sweep", _SWEEP), ("extraction", _EXTRACT)):
        peaks = {}
        for n, store in ((small_n, small), (n_episodes, large)):
            seconds, peaks[n] = _peak_memory(code, store.root, scratch / f"made-{n}")
            figures[f"{task}_wall_ms"] = seconds / n * 1e3
        figures[f"{task}_peak_mb"] = peaks[n_episodes]
        growth = peaks[n_episodes] / peaks[small_n]
        detail = f"{peaks[small_n]:.0f} MB at {small_n}, {peaks[n_episodes]:.0f} MB at {n_episodes}"
        lines += [
            at_most(f"peak memory of {task}, large by small store", growth, 1.1, detail=detail),
            at_most(f"peak memory of {task}", peaks[n_episodes], 1500, unit="MB"),
        ]
    lines.append(_resweep(large, scratch / f"made-{n_episodes}", figures))
    lines.append(cold_batches.measure(scratch, figures))
    return lines, figures


def _parallel(store: LocalStore, figures: dict[str, float]) -> list[Line]:
    """Compare the pace of the same sweep with one worker process and with two.

    Starting workers takes most of a second, whatever the store: a short run must not count it.
    """
    works: dict[str, Callable[[Progress], object]] = {
        "one": lambda progress: sweep(store, None, ProcessCompute(1), progress),
        "two": lambda progress: sweep(store, None, ProcessCompute(WORKERS), progress),
        "one_spins": lambda progress: _spin_all(1, progress),
        "two_spin": lambda progress: _spin_all(WORKERS, progress),
    }
    paces: dict[str, list[float]] = {name: [] for name in works}
    starts: list[float] = []
    for round_ in range(3):
        for name, work in works.items():
            moments: list[tuple[float, int]] = []
            start = time.perf_counter()
            work(lambda what, done, *_, seen=moments: seen.append((time.perf_counter(), done)))
            # The first round warms up.
            if round_:
                paces[name].append(pace(moments))
                starts.append(next(t for t, done in moments if done) - start)
    gained, possible = ratio(paces, "one", "two"), ratio(paces, "one_spins", "two_spin")
    figures["two_processes"], figures["two_spinning"] = gained, possible
    figures["worker_start_s"] = min(starts)
    detail = (
        f"two idle loops gain {possible:.2f} × at load average {os.getloadavg()[0]:.1f}; "
        f"starting workers, {min(starts):.1f} s, is not counted"
    )
    return [at_least("one process by two, wall time", gained, 1.7, detail=detail)]


def pace(moments: list[tuple[float, int]]) -> float:
    """Seconds for each piece of work, from a tenth of it done to nine tenths."""
    total = moments[-1][1]
    within = [(t, done) for t, done in moments if 0.1 * total <= done <= 0.9 * total]
    (begin, before), (end, after) = within[0], within[-1]
    return (end - begin) / (after - before)


def _spin_all(workers: int, progress: Progress) -> None:
    for done, _ in enumerate(ProcessCompute(workers).map(spin, [SPINS] * N_SPINS), 1):
        progress("spin", done, N_SPINS)


def spin(times: int) -> int:
    """Work that shares nothing: what two processes gain on it is what the machine has to give."""
    return sum(range(times))


def _resweep(store: LocalStore, made: Path, figures: dict[str, float]) -> Line:
    """Compare CPU time of sweeping an unchanged store again with that of sweeping it first."""
    previous = pl.read_parquet(made / "validation.parquet")
    first_s = figures["sweep_wall_ms"] * previous.height / 1e3
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        again = sweep(store, previous, ProcessCompute(WORKERS))
        seconds.append(time.perf_counter() - start)
        assert again.n_read == 0
    share = statistics.median(seconds) / first_s
    figures["resweep_ms"] = statistics.median(seconds) / previous.height * 1e3
    detail = f"{statistics.median(seconds):.2f} s of {first_s:.1f} s, {previous.height} episodes"
    return at_most("re-sweep of an unchanged store, wall", share * 100, 3, unit="%", detail=detail)


def _peak_memory(code: str, store: Path, made: Path) -> tuple[float, float]:
    """Run code in a process of its own; seconds, and MB at the peak of it and its children."""
    start = time.perf_counter()
    script = made.with_suffix(".py")
    script.write_text(code, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, str(script), str(store), str(made)],
        start_new_session=True,
        env=environment,
    )
    peak = 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(_POLL_S):
            peak = max(peak, _session_mb(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    status = process.wait()
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    if status:
        raise RuntimeError(f"the measured process ended with {status}")
    return seconds, peak


def _session_mb(session: int) -> float:
    """Memory of all processes of a session, pages they share counted once for each, MB."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            total += int(fields[21])
    return total * os.sysconf("SC_PAGE_SIZE") / 1e6

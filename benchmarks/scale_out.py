"""What a second Dask worker gains on extraction: ``python -m benchmarks.scale_out``."""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
from distributed.deploy.subprocess import SubprocessCluster

from benchmarks.data_path import show
from benchmarks.measuring import Line, at_least, machine, ratio
from benchmarks.stores import grown_store
from benchmarks.whole_store import N_SPINS, SPINS, pace, spin
from cis490_pipeline.compute import Compute, DaskCluster, DaskCompute, ProcessCompute
from cis490_pipeline.compute.progress import Progress
from cis490_pipeline.features.grids.build import build_grids
from cis490_pipeline.store.fingerprint import StoreFingerprint
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.verdicts.eligibility import usable_expr
from cis490_pipeline.store.verdicts.sweep import sweep

WANTED = 1.6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=8, help="after one to warm up")
    options = parser.parse_args()
    described = machine()
    with tempfile.TemporaryDirectory(prefix="cis490-bench-") as folder:
        lines = measure(Path(folder), options.episodes, options.rounds)
    show(lines, described)
    raise SystemExit(not all(line.met for line in lines))


def measure(scratch: Path, n_episodes: int, rounds: int) -> list[Line]:
    """Compare the pace of one worker and of two, each on a cluster of its own, in turns.

    Starting them is not counted: a cluster stands. Scheduler, client and writer of the shards share
    the machine with the workers, so that two workers cannot gain what two idle loops do.
    """
    store = grown_store(scratch / "store", n_episodes)
    usable = sweep(store, None, ProcessCompute(2)).frame.filter(usable_expr())
    with _cluster(1) as one, _cluster(2) as two:
        clusters = {"one": one, "two": two}
        computes: dict[str, Compute] = {
            name: DaskCompute(
                DaskCluster(address=c.scheduler_address, fingerprint=StoreFingerprint(store))
            )
            for name, c in clusters.items()
        }
        works: dict[str, Callable[[Progress], object]] = {}
        for name, compute in computes.items():
            works[name] = _extraction(store, usable, scratch / "grids", compute)
            works[f"{name}_spins"] = _spinning(compute)
        paces: dict[str, list[float]] = {name: [] for name in works}
        for round_ in range(rounds + 1):
            for name, work in works.items():
                moments: list[tuple[float, int]] = []
                work(lambda what, done, *_, seen=moments: seen.append((time.perf_counter(), done)))
                if round_:
                    paces[name].append(pace(moments))
    gained, possible = ratio(paces, "one", "two"), ratio(paces, "one_spins", "two_spins")
    detail = (
        f"two workers on idle loops gain {possible:.2f} ×, at load average "
        f"{os.getloadavg()[0]:.1f}; one worker {1 / min(paces['one']):.0f} episodes/s, two "
        f"{1 / min(paces['two']):.0f}; {n_episodes} episodes, {rounds} rounds"
    )
    return [
        at_least("one Dask worker by two, extraction, wall time", gained, WANTED, detail=detail)
    ]


def _cluster(workers: int) -> SubprocessCluster:
    return SubprocessCluster(
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        n_workers=workers,
        threads_per_worker=1,
        silence_logs=40,
    )


def _extraction(
    store: LocalStore, usable: pl.DataFrame, folder: Path, compute: Compute
) -> Callable[[Progress], object]:
    def work(progress: Progress) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        build_grids(store, usable, folder, compute, progress)

    return work


def _spinning(compute: Compute) -> Callable[[Progress], object]:
    def work(progress: Progress) -> None:
        for done, _ in enumerate(compute.map(spin, [SPINS] * N_SPINS), 1):
            progress("spin", done, N_SPINS)

    return work


if __name__ == "__main__":
    main()

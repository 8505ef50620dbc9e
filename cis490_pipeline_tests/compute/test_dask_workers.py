"""What holds on a cluster of processes: the same bytes, whoever dies; refusals; interrupts."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from distributed import Client
from distributed.security import Security

from cis490_pipeline.cli.main import EXIT_FINDINGS
from cis490_pipeline.compute import Compute, DaskCompute, SerialCompute
from cis490_pipeline.compute.progress import Progress, no_progress
from cis490_pipeline.domain import EpisodeRef
from cis490_pipeline.errors import ClusterError, WorkerDiedError
from cis490_pipeline.features.grids.build import build_grids
from cis490_pipeline.storage.parquet import write_parquet
from cis490_pipeline.store.fingerprint import StoreFingerprint
from cis490_pipeline.store.receiver import LocalStore, Reading
from cis490_pipeline.store.verdicts.eligibility import usable_expr
from cis490_pipeline.store.verdicts.sweep import comparable, sweep
from cis490_pipeline_tests.compute.dask_processes import PROJECT, DaskProcesses

pytestmark = pytest.mark.long

SAMPLE = PROJECT / "data" / "sample"
NOON = "2026-11-22T12:00:00Z"


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[DaskProcesses]:
    processes = DaskProcesses(tmp_path / "dask")
    try:
        for _ in range(2):
            processes.start_worker()
        processes.pids(2)
        yield processes
    finally:
        processes.close()


def corpus(folder: Path, compute: Compute, told: Progress = no_progress) -> dict[str, bytes]:
    """Sweep and grid the recorded sample; the bytes of every file made."""
    store = LocalStore(SAMPLE)
    frame = sweep(store, None, compute, told, checked_at=NOON).frame
    write_parquet(folder / "validation.parquet", frame)
    build_grids(store, frame.filter(usable_expr()), folder, compute, told)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_two_workers_of_which_one_is_killed_make_the_bytes_of_one_process(
    tmp_path: Path, dask: DaskProcesses
) -> None:
    alone = corpus(tmp_path / "alone", SerialCompute())
    before = dask.pids(2)
    victims = iter(before.values())
    killed: list[int] = []

    def kill_one_halfway(what: str, done: int, total: int, detail: str = "") -> None:
        # Once in the sweep, once among the grids: each starts from nothing.
        if total // 3 < done < total and len(killed) < 2 and stage_of(total) == len(killed):
            pid = next(victims)
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    totals: list[int] = []

    def stage_of(total: int) -> int:
        if total not in totals:
            totals.append(total)
        return totals.index(total)

    cluster = dask.cluster(fingerprint=StoreFingerprint(LocalStore(SAMPLE)))
    many = corpus(tmp_path / "many", DaskCompute(cluster), kill_one_halfway)

    assert killed == list(before.values())
    assert set(before.values()).isdisjoint(dask.pids(2).values())
    assert many == alone
    assert len(alone) >= 4


def test_a_command_in_another_folder_finds_the_same_by_the_cluster(
    tmp_path: Path, dask: DaskProcesses
) -> None:
    told = {}
    for name, extra in {"here": {}, "cluster": {"CIS490_DASK_ADDRESS": dask.address}}.items():
        done = subprocess.run(
            [sys.executable, "-m", "cis490_pipeline", "validate", "data/sample", "--json"],
            cwd=PROJECT,
            env=os.environ | {"CIS490_DATA": str(tmp_path / name), "CIS490_WORKERS": "1"} | extra,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == EXIT_FINDINGS, done.stderr
        told[name] = json.loads(done.stdout)
        del told[name]["path"]

    assert told["cluster"] == told["here"]
    assert "cis490" in dask.log("0-scheduler")


def die_on_3(n: int) -> int:
    if n == 3:
        os._exit(7)
    return n


def test_task_that_kills_every_worker_is_named(tmp_path: Path) -> None:
    processes = DaskProcesses(tmp_path / "dask", allowed_failures=1)
    try:
        processes.start_worker()
        done: list[tuple[int, int]] = []

        with pytest.raises(WorkerDiedError, match=r"2 Dask workers, .* middle of task \d") as died:
            done.extend(DaskCompute(processes.cluster()).map(die_on_3, range(4)))

        # To Dask a task that waits on the worker is as suspect as the one that kills it.
        (suspect,) = died.value.positions
        assert suspect in {2, 3}
        assert {3, suspect}.isdisjoint(dict(done))
        # Alone there is no other.
        with pytest.raises(WorkerDiedError, match=r"middle of task 0"):
            list(DaskCompute(processes.cluster()).map(die_on_3, [3]))
        assert list(DaskCompute(processes.cluster()).map(die_on_3, [2]))
    finally:
        processes.close()


class DeadlyStore(LocalStore):
    """A store of which one episode ends the process that reads it."""

    victim = EpisodeRef("elliott-thinkpad", "")

    @contextmanager
    def reading(self, ref: EpisodeRef) -> Iterator[Reading]:
        if ref == self.victim:
            os._exit(9)
        with super().reading(ref) as reading:
            yield reading


def test_episode_that_kills_every_worker_is_errored_and_all_others_get_their_verdict(
    tmp_path: Path,
) -> None:
    sound = sweep(LocalStore(SAMPLE), None, SerialCompute(), checked_at=NOON).frame
    store = DeadlyStore(SAMPLE)
    store.victim = EpisodeRef(*sound.select("host_id", "episode_id").row(20))
    processes = DaskProcesses(tmp_path / "dask", allowed_failures=0)
    try:
        for _ in range(2):
            processes.start_worker()
        frame = sweep(store, None, DaskCompute(processes.cluster()), checked_at=NOON).frame
    finally:
        processes.close()

    errored = frame.filter(status="errored")
    assert errored.select("host_id", "episode_id").rows() == [
        (store.victim.host_id, store.victim.episode_id)
    ]
    others = pl.col("episode_id") != store.victim.episode_id
    assert comparable(frame.filter(others)).equals(comparable(sound.filter(others)))


def test_worker_on_other_code_is_refused_before_and_after_the_start(
    tmp_path: Path, dask: DaskProcesses
) -> None:
    other = tmp_path / "other"
    shutil.copytree(PROJECT / "cis490_pipeline", other / "cis490_pipeline")
    with (other / "cis490_pipeline" / "errors.py").open("a") as module:
        module.write("# one more line\n")
    running = DaskCompute(dask.cluster()).map(time.sleep, [0.05] * 2000)
    next(running)

    dask.start_worker(path=other)

    for compute in (running, DaskCompute(dask.cluster()).map(abs, [1])):
        with pytest.raises(
            ClusterError, match=r"Dask worker tcp://.* has cis490_pipeline's code .*, the client"
        ):
            list(compute)


def test_worker_without_this_project_is_refused(tmp_path: Path, dask: DaskProcesses) -> None:
    empty = tmp_path / "cis490_pipeline"
    empty.mkdir()
    # An empty package is not enough: an editable install finds the modules it lacks elsewhere.
    (empty / "__init__.py").write_text("raise ModuleNotFoundError(__name__)")
    dask.start_worker(path=tmp_path)
    dask.pids(3)

    with pytest.raises(
        ClusterError, match=r"cannot run this project's code: .*ModuleNotFoundError"
    ):
        next(DaskCompute(dask.cluster()).map(abs, [1]))


def certificate(folder: Path) -> dict[str, Path]:
    """Write a certificate that signs itself, with its key; returned as `DaskCluster` takes them."""
    security = Security.temporary()
    files = {
        "ca": (folder / "ca.pem", security.tls_ca_file),
        "certificate": (folder / "certificate.pem", security.tls_client_cert),
        "key": (folder / "key.pem", security.tls_client_key),
    }
    for path, text in files.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {name: path for name, (path, _) in files.items()}


def test_tls_lets_in_who_has_a_certificate_of_its_authority_and_nobody_else(
    tmp_path: Path,
) -> None:
    own, foreign = certificate(tmp_path / "own"), certificate(tmp_path / "foreign")
    processes = DaskProcesses(
        tmp_path / "dask",
        arguments=(
            *("--protocol", "tls", "--tls-ca-file", str(own["ca"])),
            *("--tls-cert", str(own["certificate"]), "--tls-key", str(own["key"])),
        ),
    )
    try:
        processes.start_worker()

        assert processes.address.startswith("tls://")
        assert dict(DaskCompute(processes.cluster(**own)).map(abs, [-1, -2])) == {0: 1, 1: 2}
        for wrong in (foreign, {**foreign, "ca": own["ca"]}):
            with pytest.raises(ClusterError, match="no Dask scheduler at tls://"):
                next(DaskCompute(processes.cluster(**wrong, patience_s=3.0)).map(abs, [1]))
    finally:
        processes.close()


def test_scheduler_that_dies_is_told(dask: DaskProcesses) -> None:
    running = DaskCompute(dask.cluster(patience_s=5.0)).map(time.sleep, [0.05] * 2000)
    next(running)

    os.killpg(dask.scheduler.pid, signal.SIGKILL)

    with pytest.raises(ClusterError, match=r"the Dask scheduler at tcp://.* was lost"):
        list(running)


def test_interrupt_ends_a_run_cleanly_and_frees_the_cluster(
    tmp_path: Path, dask: DaskProcesses
) -> None:
    script = tmp_path / "long_run.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import time
            from cis490_pipeline.compute import DaskCluster, DaskCompute

            if __name__ == "__main__":
                cluster = DaskCluster(address="{dask.address}")
                for position, _ in DaskCompute(cluster).map(time.sleep, [0.1] * 1000):
                    print(position, flush=True)
            """
        )
    )
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)

    # Dask may log a fault of its own: its `sync` names a variable that the interrupt kept unset.
    assert errors.count("KeyboardInterrupt") == 1, errors
    assert errors.strip().endswith("KeyboardInterrupt")
    with Client(dask.address, set_as_default=False) as client:
        until = time.monotonic() + 20
        while (left := client.run_on_scheduler(n_tasks)) and time.monotonic() < until:
            time.sleep(0.1)
    assert left == 0


def n_tasks(dask_scheduler: Any) -> int:
    return len(dask_scheduler.tasks)

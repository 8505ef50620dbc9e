"""What the Dask backend promises, on a cluster within this process; see `test_dask_workers` too."""

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from distributed import Future, LocalCluster

from cis490_pipeline.compute import DaskCluster, DaskCompute, dask_worker
from cis490_pipeline.compute.dask_worker import Expectation
from cis490_pipeline.compute.installed import installed
from cis490_pipeline.errors import ClusterError, ConfigError


@pytest.fixture(scope="module")
def cluster() -> Iterator[DaskCluster]:
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as local:
        yield DaskCluster(address=local.scheduler_address, run="nightly-1234", patience_s=5)


def square(n: int) -> int:
    return n * n


def test_every_task_is_done_once_and_keeps_its_position(cluster: DaskCluster) -> None:
    tasks = list(range(20, 60))

    done = list(DaskCompute(cluster).map(square, tasks))

    assert len(done) == 40
    assert dict(done) == {position: n * n for position, n in enumerate(tasks)}


def test_no_result_is_given_back_in_a_destructor(
    cluster: DaskCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python prints an interrupt that comes within a destructor, drops it, and the run goes on.
    late = []
    end = Future.__del__

    def noted(future: Any) -> None:
        if not future._cleared and future.key.startswith("cis490-"):
            late.append(future.key)
        end(future)

    monkeypatch.setattr(Future, "__del__", noted)

    assert len(list(DaskCompute(cluster).map(square, range(20)))) == 20
    gc.collect()
    assert late == []


def test_no_tasks_need_no_cluster() -> None:
    nowhere = DaskCluster(address="tcp://127.0.0.1:1")

    assert list(DaskCompute(nowhere).map(square, [])) == []


def echo(task: object) -> object:
    return task


def test_tasks_that_look_like_dasks_own_arrive_as_they_are(cluster: DaskCluster) -> None:
    tasks = [(square, 3), {"a": [(square, 2)]}, "cis490-echo-0", None]

    assert dict(DaskCompute(cluster).map(echo, tasks)) == dict(enumerate(tasks))


_TRIES: list[int] = []


def fail_on_3(n: int) -> int:
    if n == 3:
        _TRIES.append(n)
        raise ValueError("three is not done")
    return n


def test_fault_of_a_task_reaches_the_caller_after_its_retries(cluster: DaskCluster) -> None:
    _TRIES.clear()

    with pytest.raises(ValueError, match="three is not done"):
        list(DaskCompute(cluster).map(fail_on_3, range(6)))

    assert len(_TRIES) == 3


def fail_first(n: int) -> int:
    if n not in _TRIES:
        _TRIES.append(n)
        raise OSError("the mount is gone for a moment")
    return n


def test_a_passing_fault_is_survived(cluster: DaskCluster) -> None:
    _TRIES.clear()

    assert dict(DaskCompute(cluster).map(fail_first, range(5))) == {n: n for n in range(5)}


def test_the_same_function_is_done_anew_in_every_map(cluster: DaskCluster) -> None:
    _TRIES.clear()
    compute = DaskCompute(cluster)

    for _ in range(2):
        list(compute.map(note, [1, 2]))

    assert sorted(_TRIES) == [1, 1, 2, 2]


class Counting(list[int]):
    """Tasks that tell how many of them were taken."""

    taken = 0

    def __iter__(self) -> Iterator[int]:
        for task in range(1000):
            self.taken += 1
            yield task

    def __len__(self) -> int:
        return 1000


def test_few_tasks_are_under_way_and_closing_drops_the_rest(cluster: DaskCluster) -> None:
    tasks = Counting()
    _TRIES.clear()
    results = DaskCompute(cluster).map(note_slowly, tasks)
    next(results)

    results.close()

    assert tasks.taken <= 2 * 4 + 1
    time.sleep(0.3)
    done = len(_TRIES)
    time.sleep(0.3)
    assert len(_TRIES) == done < tasks.taken


def note(n: int) -> None:
    _TRIES.append(n)


def note_slowly(n: int) -> None:
    time.sleep(0.1)
    _TRIES.append(n)


def test_the_keys_name_function_and_run(cluster: DaskCluster) -> None:
    (key,) = dict(DaskCompute(cluster).map(own_key, [None])).values()

    assert key.startswith("cis490-own_key-nightly--")
    assert key.endswith("-0")


def own_key(_: None) -> str:
    from distributed import get_worker

    return str(get_worker().get_current_task())


@dataclass(frozen=True)
class Sight:
    """Sees one thing in the thread that asks, another on a worker."""

    on_worker: str | None

    def __call__(self) -> str:
        if threading.current_thread() is threading.main_thread():
            return "store"
        if self.on_worker is None:
            raise FileNotFoundError("no such folder")
        return self.on_worker

    def __str__(self) -> str:
        return "the-shared-store"


def test_worker_that_does_not_see_the_files_is_named_with_them(cluster: DaskCluster) -> None:
    blind = DaskCompute(replace(cluster, fingerprint=Sight(None)))

    with pytest.raises(
        ClusterError,
        match=r"Dask worker tcp://127\.0\.0\.1:\d+ does not see the-shared-store: "
        "FileNotFoundError: no such folder; mount it there",
    ):
        next(blind.map(square, [1]))


def test_worker_that_sees_another_folder_is_refused(cluster: DaskCluster) -> None:
    with pytest.raises(ClusterError, match="sees something else at the-shared-store"):
        next(DaskCompute(replace(cluster, fingerprint=Sight("another"))).map(square, [1]))

    assert dict(DaskCompute(replace(cluster, fingerprint=Sight("store"))).map(square, [2])) == {
        0: 4
    }


def test_first_differing_version_is_told_with_worker(
    cluster: DaskCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = installed()
    monkeypatch.setattr(
        dask_worker, "installed", lambda: {**own, "polars": "0.1", "zstandard": "2"}
    )

    with pytest.raises(
        ClusterError,
        match=rf"Dask worker tcp://\S+ has polars 0\.1, the client {own['polars']}; "
        "install the same on both",
    ):
        next(DaskCompute(cluster).map(square, [1]))


def test_worker_is_looked_at_once_for_an_expectation(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def look() -> str:
        looks.append(1)
        return "store"

    expected = Expectation("token of this test", installed(), look, "store")

    assert dask_worker.found_unfit(expected) is None
    assert dask_worker.found_unfit(expected) is None

    assert looks == [1]


def test_code_differs_by_a_byte_and_by_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cis490_pipeline.compute import installed as module

    monkeypatch.setattr(module, "PACKAGE", tmp_path)
    found = []
    for name, text in [("a.py", "x = 1"), ("a.py", "x = 2"), ("b.py", "x = 2")]:
        for old in tmp_path.iterdir():
            old.unlink()
        (tmp_path / name).write_text(text)
        module.code_digest.cache_clear()
        found.append(module.code_digest())
    module.code_digest.cache_clear()

    assert len(set(found)) == 3


def test_no_scheduler_is_told_with_what_to_do() -> None:
    compute = DaskCompute(DaskCluster(address="tcp://127.0.0.1:1", patience_s=0.5))

    with pytest.raises(ClusterError, match=r"no Dask scheduler at tcp://127.0.0.1:1: .*unset"):
        next(compute.map(square, [1]))


def test_cluster_without_workers_is_not_waited_for_forever() -> None:
    with LocalCluster(
        n_workers=0,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as local:
        compute = DaskCompute(DaskCluster(address=local.scheduler_address, patience_s=0.5))

        with pytest.raises(ClusterError, match=r"had no worker for 0\.5 s; start one"):
            next(compute.map(square, [1]))


def test_scheduler_that_listens_on_the_network_is_refused() -> None:
    with LocalCluster(
        n_workers=0,
        processes=False,
        protocol="tcp://",
        host="0.0.0.0",
        dashboard_address="127.0.0.1:0",
    ) as local:
        port = local.scheduler_address.rpartition(":")[2]
        compute = DaskCompute(DaskCluster(address=f"tcp://127.0.0.1:{port}"))

        with pytest.raises(ClusterError, match="the scheduler of the Dask cluster listens where"):
            next(compute.map(square, [1]))


def test_address_that_anybody_could_answer_is_refused() -> None:
    with pytest.raises(ConfigError, match="Dask address: must be tls://HOST:PORT"):
        DaskCluster(address="tcp://10.0.0.5:8786")


def test_tls_without_certificates_is_refused_with_the_first_missing(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    bare = DaskCluster(address="tls://scheduler.lab:8786")
    half = replace(bare, ca=tmp_path / "ca.pem", certificate=tmp_path / "me.pem")

    with pytest.raises(ConfigError, match="of the ca none was given; set dask_tls_ca"):
        next(DaskCompute(bare).map(square, [1]))
    with pytest.raises(ConfigError, match=r"of the certificate .*me\.pem is no file"):
        next(DaskCompute(half).map(square, [1]))


def test_dask_is_loaded_only_when_it_is_used() -> None:
    script = "import sys, cis490_pipeline.compute; print({'dask', 'distributed'} & {*sys.modules})"

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout == "set()\n"


def test_dask_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)

    with pytest.raises(ConfigError, match=r"pip install 'cis490_pipeline\[dask\]'"):
        next(DaskCompute(DaskCluster(address="tcp://127.0.0.1:1")).map(square, [1]))

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from cis490_pipeline.compute import Compute, ProcessCompute, SerialCompute, compute_with
from cis490_pipeline.errors import ConfigError, WorkerDiedError


def square(n: int) -> int:
    return n * n


def fail_on_3(n: int) -> int:
    if n == 3:
        raise ValueError("three is not done")
    return n


@pytest.mark.parametrize("compute", [SerialCompute(), ProcessCompute(2)], ids=["serial", "process"])
def test_every_task_is_done_once_and_keeps_its_position(compute: Compute) -> None:
    tasks = list(range(20, 50))

    done = dict(compute.map(square, tasks))

    assert done == {position: n * n for position, n in enumerate(tasks)}


@pytest.mark.parametrize("compute", [SerialCompute(), ProcessCompute(2)], ids=["serial", "process"])
def test_fault_of_a_task_reaches_the_caller(compute: Compute) -> None:
    with pytest.raises(ValueError, match="three is not done"):
        list(compute.map(fail_on_3, range(6)))


def die_on_3(n: int) -> int:
    if n == 3:
        os._exit(7)
    return n


def test_worker_that_dies_is_named_for_what_it_is() -> None:
    done: list[tuple[int, int]] = []

    with pytest.raises(WorkerDiedError, match="ended in the middle of a task") as died:
        done.extend(ProcessCompute(1).map(die_on_3, range(20)))

    assert 3 in died.value.positions
    assert {position for position, _ in done}.isdisjoint(died.value.positions)


@pytest.mark.parametrize("compute", [SerialCompute(), ProcessCompute(2)], ids=["serial", "process"])
def test_no_tasks_give_no_results(compute: Compute) -> None:
    assert list(compute.map(square, [])) == []


def tell_worker(_: int) -> int:
    return os.getpid()


def test_pool_is_gone_when_the_caller_stops_early() -> None:
    before = set(multiprocessing.active_children())
    results = ProcessCompute(2).map(tell_worker, range(1000))
    _, worker = next(results)

    results.close()

    assert set(multiprocessing.active_children()) == before
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_pool_without_workers_is_refused() -> None:
    with pytest.raises(ConfigError, match="workers must be at least 1, got 0"):
        ProcessCompute(0)


def test_one_worker_is_this_process_and_more_are_a_pool() -> None:
    one, three = compute_with(1), compute_with(3)

    assert isinstance(one, SerialCompute)
    assert isinstance(three, ProcessCompute)
    assert three.workers == 3


def run_of_many_tasks(tmp_path: Path) -> subprocess.Popen[str]:
    script = tmp_path / "long_run.py"
    script.write_text(
        textwrap.dedent(
            """
            import os
            import time
            from cis490_pipeline.compute import ProcessCompute

            def work(_):
                time.sleep(0.05)
                return os.getpid()

            if __name__ == "__main__":
                for _, worker in ProcessCompute(2).map(work, [0] * 1000):
                    print(worker, flush=True)
            """
        )
    )
    return subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    with run_of_many_tasks(tmp_path) as process:
        assert process.stdout is not None
        workers = {int(process.stdout.readline()) for _ in range(20)}
        process.kill()
    deadline = time.monotonic() + 20
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)

    assert not any(map(is_alive, workers))


def test_interrupt_ends_the_pool_cleanly(tmp_path: Path) -> None:
    with run_of_many_tasks(tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        # As a terminal does it: to the whole group, workers included.
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=20)

    assert errors.count("Traceback") == 1
    assert errors.strip().endswith("KeyboardInterrupt")

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from queue import SimpleQueue

import pytest

from cis490_pipeline.compute import Compute, ProcessCompute, SerialCompute, compute_with
from cis490_pipeline.compute.backends import _deferred_interrupts
from cis490_pipeline.compute.pool_worker import report_to_owner
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


def slow_double(value: int) -> int:
    time.sleep(0.05)
    return 2 * value


def errors_at_end(process: subprocess.Popen[str]) -> str:
    try:
        return process.communicate(timeout=20)[1]
    except subprocess.TimeoutExpired:
        process.kill()  # Or leaving the block would wait for it forever.
        raise


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
        errors = errors_at_end(process)

    assert errors.count("Traceback") == 1
    assert errors.strip().endswith("KeyboardInterrupt")


def test_an_interrupt_is_held_back_while_a_lock_of_a_future_may_be_held() -> None:
    wake: SimpleQueue[None] = SimpleQueue()
    steps: list[str] = []

    def block() -> None:
        with _deferred_interrupts(wake):
            signal.raise_signal(signal.SIGINT)
            assert wake.get(timeout=1) is None
            steps.append("the block ends")

    with pytest.raises(KeyboardInterrupt):
        block()

    assert steps == ["the block ends"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_whose_handler_raises_nothing_drops_no_task() -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        results, timers = [], []
        for position, result in ProcessCompute(2).map(slow_double, list(range(12))):
            results.append((position, result))
            timers.append(threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGTERM)))
            timers[-1].start()
        for timer in timers:
            timer.join()
    finally:
        signal.signal(signal.SIGTERM, before)

    assert sorted(results) == [(k, 2 * k) for k in range(12)]
    assert len(received) >= 1


@pytest.mark.long
def test_no_interrupt_of_fifty_leaves_the_pool_waiting(tmp_path: Path) -> None:
    for k in range(50):
        folder = tmp_path / str(k)
        folder.mkdir()
        with run_of_many_tasks(folder) as process:
            assert process.stdout is not None
            for _ in range(3 + k % 7):
                process.stdout.readline()
            time.sleep(0.002 * k)
            os.kill(process.pid, signal.SIGINT)

            assert errors_at_end(process).strip().endswith("KeyboardInterrupt")


def report_twice(n: int) -> int:
    report_to_owner(f"task {n}", 1, 2, "half")
    report_to_owner(f"task {n}", 2, 2)
    return n


def test_every_report_of_a_task_reaches_the_pools_listener_in_its_order() -> None:
    heard: list[tuple[str, int, int, str]] = []

    def listen(what: str, done: int, total: int, detail: str = "") -> None:
        heard.append((what, done, total, detail))

    assert len(list(ProcessCompute(2, progress=listen).map(report_twice, range(20)))) == 20
    for n in range(20):
        mine = [report for report in heard if report[0] == f"task {n}"]
        assert mine == [(f"task {n}", 1, 2, "half"), (f"task {n}", 2, 2, "")]


def report_and_wait(_: int) -> None:
    report_to_owner(str(os.getpid()), 0, 1)
    time.sleep(600)


def test_long_tasks_are_stopped_when_the_caller_ends() -> None:
    workers: set[int] = set()

    def stop_at_the_second(what: str, done: int, total: int, detail: str = "") -> None:
        workers.add(int(what))
        if len(workers) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(ProcessCompute(2, progress=stop_at_the_second).map(report_and_wait, range(4)))

    assert not any(map(is_alive, workers))


def test_a_killed_worker_names_the_long_tasks_in_progress_alone() -> None:
    def kill(what: str, done: int, total: int, detail: str = "") -> None:
        os.kill(int(what), signal.SIGKILL)

    with pytest.raises(WorkerDiedError, match="ended in the middle of a task") as died:
        list(ProcessCompute(1, progress=kill).map(report_and_wait, range(4)))

    assert died.value.positions == (0,)

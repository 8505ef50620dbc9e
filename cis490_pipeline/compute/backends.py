"""Local backends of `Compute`: serial, or a pool of processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for_end
from typing import Final, Protocol, TypeVar

from cis490_pipeline.compute.process import keep_freed_memory
from cis490_pipeline.errors import ConfigError, WorkerDiedError

T = TypeVar("T")
R = TypeVar("R")

_IN_FLIGHT_PER_WORKER: Final = 4


class Compute(Protocol):
    """Backend that executes many independent tasks."""

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[int, R]]:
        """Execute every task; yield the position and result of each, in order of completion.

        The function is a top-level one; it, the tasks and the results must pickle. An exception in
        a task is raised here and cancels the rest. Raises `WorkerDiedError` if a worker process
        died during a task (out of memory, a crash in a library), after the tasks completed before
        that.
        """
        ...


class SerialCompute:
    """Executes tasks in this process, one after another."""

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[int, R]]:
        """Execute every task, in order."""
        for position, task in enumerate(tasks):
            yield position, function(task)


class ProcessCompute:
    """Process pool, created for each `map` and closed when it ends."""

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ConfigError(f"workers must be at least 1, got {workers}")
        self.workers = workers

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[int, R]]:
        """Execute every task; an interrupt, or closing the iterator, drops unstarted tasks."""
        # Not plain fork: polars' thread pool does not survive it, and the child would hang.
        context = multiprocessing.get_context("forkserver")
        workers = min(self.workers, max(1, len(tasks)))
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_work)
        pending: dict[Future[R], int] = {}
        upcoming = enumerate(tasks)
        try:
            while True:
                # Bounded, since a large corpus would otherwise pickle every task up front.
                while len(pending) < workers * _IN_FLIGHT_PER_WORKER:
                    following = next(upcoming, None)
                    if following is None:
                        break
                    pending[pool.submit(function, following[1])] = following[0]
                if not pending:
                    return
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    yield pending.pop(future), result
        except BrokenProcessPool as broken:
            raise WorkerDiedError(
                f"a worker process ended in the middle of a task; {len(pending)} tasks were "
                "running. Check for the kernel's out-of-memory killer, or use fewer workers",
                tuple(sorted(pending.values())),
            ) from broken
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def compute_with(workers: int) -> Compute:
    """Return the backend for a number of workers: serial for one, else a process pool."""
    return SerialCompute() if workers == 1 else ProcessCompute(workers)


def _begin_work() -> None:
    keep_freed_memory()
    # Ctrl-C reaches the whole process group; only the parent should print and clean up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit when the parent is killed; an idle worker would otherwise wait for a task forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_end([parent.sentinel])
        os._exit(1)

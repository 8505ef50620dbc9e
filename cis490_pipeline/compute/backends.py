"""Local backends of `Compute`: serial, or a pool of processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for_end
from queue import SimpleQueue
from types import FrameType
from typing import Any, Final, Protocol, TypeVar

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
        done: SimpleQueue[Future[R] | None] = SimpleQueue()
        upcoming = enumerate(tasks)
        try:
            while True:
                with _deferred_interrupts(done):
                    # Bounded, since a large corpus would otherwise pickle every task up front.
                    while len(pending) < workers * _IN_FLIGHT_PER_WORKER:
                        following = next(upcoming, None)
                        if following is None:
                            break
                        future = pool.submit(function, following[1])
                        pending[future] = following[0]
                        future.add_done_callback(done.put)
                    if not pending:
                        return
                    completed = done.get()
                    if completed is None:
                        continue
                    result = completed.result()
                yield pending.pop(completed), result
        except BrokenProcessPool as broken:
            raise WorkerDiedError(
                f"a worker process ended in the middle of a task; {len(pending)} tasks were "
                "running. Check for the kernel's out-of-memory killer, or use fewer workers",
                tuple(sorted(pending.values())),
            ) from broken
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _deferred_interrupts(wake: "SimpleQueue[Any]") -> Iterator[None]:
    """Hold back SIGINT and SIGTERM until the block's end, where their handlers are called.

    A handler that raises within ``concurrent.futures`` leaves a future's lock held, and the pool
    then waits for it forever. ``None`` is put into the queue that the block may wait for.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python calls handlers in the main thread alone.
        return
    received: list[tuple[int, FrameType | None]] = []

    def hold_back(signum: int, frame: FrameType | None) -> None:
        received.append((signum, frame))
        wake.put(None)

    handlers = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if callable(handler := signal.getsignal(number))
    }
    try:
        for number in handlers:
            signal.signal(number, hold_back)
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for signum, frame in received:
            handlers[signal.Signals(signum)](signum, frame)


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

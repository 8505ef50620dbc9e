"""Local backends of `Compute`: serial, or a pool of processes."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType
from typing import Any, Final, Protocol, TypeVar

from cis490_pipeline.compute.pool_worker import OwnerEnds, Report, begin_work
from cis490_pipeline.compute.progress import Progress
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
    """Process pool, created for each `map` and closed when it ends.

    Parameters
    ----------
    workers : processes.
    progress : listener for long tasks, such as trainings: gets what they report by
        ``pool_worker.report_to_owner``. When the caller ends early, tasks in progress are then
        stopped instead of awaited, as by a kill.
    """

    def __init__(self, workers: int, *, progress: Progress | None = None) -> None:
        if workers < 1:
            raise ConfigError(f"workers must be at least 1, got {workers}")
        self.workers = workers
        self.progress = progress

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[int, R]]:
        """Execute every task; an interrupt, or closing the iterator, drops unstarted tasks."""
        running = _Running(min(self.workers, max(1, len(tasks))), self.progress, function, tasks)
        try:
            yield from running.results()
        except BrokenProcessPool as broken:
            raise WorkerDiedError(
                f"a worker process ended in the middle of a task; {len(running.pending)} tasks "
                "were running. Check for the kernel's out-of-memory killer, or use fewer workers",
                tuple(sorted(running.pending.values())),
            ) from broken
        finally:
            running.end()


class _Running:
    """State of one `map` call."""

    def __init__(
        self,
        workers: int,
        progress: Progress | None,
        function: Callable[[Any], Any],
        tasks: Sequence[Any],
    ) -> None:
        self.pending: dict[Future[Any], int] = {}
        self._progress, self._function = progress, function
        self._upcoming = enumerate(tasks)
        self._room = workers * (_IN_FLIGHT_PER_WORKER if progress is None else 1)
        self._received: SimpleQueue[Future[Any] | Report | None] = SimpleQueue()
        self._ends = None if progress is None else OwnerEnds(self._received.put)
        self._pool = ProcessPoolExecutor(
            workers,
            # Not plain fork: polars' thread pool does not survive it, and the child would hang.
            mp_context=multiprocessing.get_context("forkserver"),
            initializer=begin_work,
            initargs=(None if self._ends is None else self._ends.of_worker,),
        )

    def results(self) -> Iterator[tuple[int, Any]]:
        while True:
            with _deferred_interrupts(self._received):
                self._submit()
                if not self.pending:
                    return
                received = self._received.get()
                result = received.result() if isinstance(received, Future) else None
            if isinstance(received, Future):
                yield self.pending.pop(received), result
            else:
                self._report(received)

    def end(self) -> None:
        """Close the pool; first stop long tasks that are still in progress."""
        if self._ends is not None and self.pending:
            self._ends.stop_workers()
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._ends is not None:
            self._ends.close()
        # The last report of a task may come after its result.
        while not self._received.empty():
            received = self._received.get()
            self._report(None if isinstance(received, Future) else received)

    def _submit(self) -> None:
        # Bounded, since a large corpus would otherwise pickle every task up front.
        while len(self.pending) < self._room:
            following = next(self._upcoming, None)
            if following is None:
                return
            future = self._pool.submit(self._function, following[1])
            self.pending[future] = following[0]
            future.add_done_callback(self._received.put)

    def _report(self, report: Report | None) -> None:
        if report is not None and self._progress is not None:
            self._progress(*report)


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

"""Worker process of a pool: how it begins, ends with the pool's owner, and reports progress."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_end
from typing import Final

from cis490_pipeline.compute.process import keep_freed_memory

_MAX_TEXT: Final = 200
"""Characters sent of each text. A pipe keeps writes of up to PIPE_BUF (4,096 bytes on Linux) apart,
so that several workers can share it without a lock, which a killed one would hold forever."""

Report = tuple[str, int, int, str]
"""Arguments of a progress listener."""


@dataclass(frozen=True)
class WorkerEnds:
    """A worker's ends of two pipes to the pool's owner."""

    reports: Connection
    """Takes progress."""
    stop: Connection
    """Readable once the owner wants the task in progress stopped."""


_ends: WorkerEnds | None = None


def begin_work(ends: WorkerEnds | None = None) -> None:
    """Prepare this process for tasks.

    Parameters
    ----------
    ends : for tasks that report, and that are stopped rather than awaited.
    """
    global _ends  # noqa: PLW0603 - a pool has no other way to hand something to its tasks
    _ends = ends
    keep_freed_memory()
    # Ctrl-C reaches the whole process group; only the parent should print and clean up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def report_to_owner(what: str, done: int, total: int, detail: str = "") -> None:
    """Progress listener of a task: reports to the listener of the pool that runs it."""
    if _ends is not None:
        _ends.reports.send((what[:_MAX_TEXT], done, total, detail[:_MAX_TEXT]))


def _end_with_parent() -> None:
    """Exit when the parent is killed; an idle worker would otherwise wait for a task forever."""
    parent = multiprocessing.parent_process()
    sentinels = [] if parent is None else [parent.sentinel]
    stop = [] if _ends is None else [_ends.stop]
    if sentinels or stop:
        wait_for_end([*sentinels, *stop])
        os._exit(1)


class OwnerEnds:
    """The owner's ends of those pipes, and the thread that reads reports.

    Parameters
    ----------
    receive : called with each report, in that thread.
    """

    def __init__(self, receive: Callable[[Report], object]) -> None:
        self._receive = receive
        self._reports, to_owner = multiprocessing.Pipe(duplex=False)
        stop, self._stop = multiprocessing.Pipe(duplex=False)
        self.of_worker = WorkerEnds(to_owner, stop)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def stop_workers(self) -> None:
        """Have every worker exit at once."""
        self._stop.close()

    def close(self) -> None:
        """Close the pipes once all workers have ended; what they reported has been received."""
        self._stop.close()
        self.of_worker.reports.close()
        self._thread.join()
        self._reports.close()
        self.of_worker.stop.close()

    def _read(self) -> None:
        while True:
            try:
                self._receive(self._reports.recv())
            except EOFError:
                return

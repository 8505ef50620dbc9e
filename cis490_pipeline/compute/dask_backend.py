"""Dask backend of `Compute`."""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cis490_pipeline.compute.dask_cluster import DaskCluster, no_worker
from cis490_pipeline.compute.dask_worker import Call, work
from cis490_pipeline.errors import ClusterError, WorkerDiedError

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")
R = TypeVar("R")

_IN_FLIGHT_PER_THREAD: Final = 4
_RETRIES: Final = 2
"""Retries of a task that raised, for instance because a mount was briefly gone. Worker deaths are
limited by Dask's scheduler (`distributed.scheduler.allowed-failures`)."""
_POLL_S: Final = 2.0


class DaskCompute:
    """Executes tasks on a Dask cluster; connects for each `map` and disconnects when it ends."""

    def __init__(self, cluster: DaskCluster) -> None:
        self.cluster = cluster

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[int, R]]:
        """Execute every task; an interrupt, or closing the iterator, drops unstarted tasks.

        Raises
        ------
        ConfigError
            If Dask is not installed, or a certificate is missing.
        ClusterError
            If the cluster cannot be reached, is lost, or differs from this process.
        WorkerDiedError
            If a task's workers died more often than the scheduler allows; carries that task
            only. Below that limit, the scheduler reassigns the task.
        """
        if not tasks:
            return
        with self.cluster.client() as client, _translated_errors(self.cluster):
            yield from _Round(self.cluster, client, function, tasks).results()


class _Round:
    """State of one `map` call."""

    def __init__(
        self,
        cluster: DaskCluster,
        client: "Client",
        function: Callable[[Any], Any],
        tasks: Sequence[Any],
    ) -> None:
        self._cluster, self._client = cluster, client
        self._function = function
        self._upcoming = enumerate(tasks)
        self._pending: dict[Future[Any], int] = {}
        # Unique keys: Dask would return another run's result for an equal key.
        name = getattr(function, "__name__", "task").strip("_")
        run = f"{cluster.run[:8]}-{uuid.uuid4().hex[:12]}".strip("-")
        self._key = f"cis490-{name}-{run}"

    def results(self) -> Iterator[tuple[int, Any]]:
        self._expected = self._cluster.expectation(self._client)
        try:
            while True:
                self._submit()
                if not self._pending:
                    return
                yield from self._finished()
        finally:
            # Running tasks cannot be stopped; queued ones and results are released.
            self._client.cancel(list(self._pending), force=True)

    def _submit(self) -> None:
        # Bounded, since a large corpus would otherwise be pickled up front; recomputed each time,
        # because workers come and go.
        room = max(1, self._cluster.threads(self._client)) * _IN_FLIGHT_PER_THREAD
        while len(self._pending) < room:
            following = next(self._upcoming, None)
            if following is None:
                return
            position, task = following
            future = self._client.submit(
                work,
                Call(self._expected, self._function, task),
                key=f"{self._key}-{position}",
                retries=_RETRIES,
                pure=False,
            )
            self._pending[future] = position

    def _finished(self) -> Iterator[tuple[int, Any]]:
        """Yield finished tasks, at least one; then raise the first failure."""
        done = self._wait()
        sound = [future for future in done if future.status == "finished"]
        # Gathered together: one request to the scheduler instead of one per result.
        for future, result in zip(sound, self._client.gather(sound), strict=True):
            position = self._pending.pop(future)
            # Released explicitly: Python swallows an interrupt raised inside a destructor.
            future.release()
            yield position, result
        for future in done:
            if future in self._pending:
                future.result()

    def _wait(self) -> "list[Future[Any]]":
        from distributed import wait

        alone_since = None
        while True:
            try:
                with self._client.as_current():
                    done = wait(list(self._pending), _POLL_S, "FIRST_COMPLETED").done
            except TimeoutError:
                now = time.monotonic()
                alone_since = None if self._cluster.threads(self._client) else alone_since or now
                if alone_since is not None and now - alone_since > self._cluster.patience_s:
                    raise no_worker(self._cluster) from None
            else:
                return sorted(done, key=self._pending.__getitem__)


@contextmanager
def _translated_errors(cluster: DaskCluster) -> Iterator[None]:
    """Translate Dask's exceptions to this package's."""
    from distributed import KilledWorker
    from distributed.comm.core import CommClosedError

    try:
        yield
    except KilledWorker as killed:
        position = int(str(killed.task).rpartition("-")[2])
        raise WorkerDiedError(
            f"{killed.allowed_failures + 1} Dask workers, one after another, ended in the middle "
            f"of task {position}, the last at {killed.last_worker.address}. Check its log and "
            "look for the kernel's out-of-memory killer",
            (position,),
        ) from killed
    except (CancelledError, CommClosedError) as lost:
        raise ClusterError(
            f"the Dask scheduler at {cluster.address} was lost, or dropped the tasks: {lost}; "
            "check its log, and run again: completed work is kept"
        ) from lost

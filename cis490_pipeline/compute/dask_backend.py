"""The backend of `Compute` that sends tasks to a Dask cluster."""

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
"""Times a task that raised is done again: a mount that was gone for a moment, say. Deaths of
workers are counted by Dask's scheduler itself (`distributed.scheduler.allowed-failures`)."""
_POLL_S: Final = 2.0


class DaskCompute:
    """Tasks on the workers of a Dask cluster; connected for each `map`, and gone when it ends."""

    def __init__(self, cluster: DaskCluster) -> None:
        self.cluster = cluster

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[int, R]]:
        """Do every task; an interrupt, or closing the iterator, drops what has not begun.

        Raises
        ------
        ConfigError
            If Dask is not installed, or a certificate is missing.
        ClusterError
            If the cluster cannot be reached, is lost, or differs from this process.
        WorkerDiedError
            If a task's workers died more often than the scheduler allows; it carries that task
            alone. A task whose worker died less often was done elsewhere.
        """
        if not tasks:
            return
        with self.cluster.client() as client, _told_as_ours(self.cluster):
            yield from _Round(self.cluster, client, function, tasks).results()


class _Round:
    """One `map` under way."""

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
        # Another run's task of the same name must never be taken for this one's.
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
            # Running ones cannot be stopped; what waits is forgotten, and so are results.
            self._client.cancel(list(self._pending), force=True)

    def _submit(self) -> None:
        # Not all at once: a large corpus would be pickled before the first task is done. Counted
        # anew, as workers come and go.
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
        """Yield what is done, at least one; then raise what a task raised."""
        done = self._wait()
        sound = [future for future in done if future.status == "finished"]
        # Together: one question to the scheduler, not one for each.
        for future, result in zip(sound, self._client.gather(sound), strict=True):
            position = self._pending.pop(future)
            # Not left to its destructor: Python drops an interrupt that comes within one.
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
def _told_as_ours(cluster: DaskCluster) -> Iterator[None]:
    """Say of Dask's own faults what they are."""
    from distributed import KilledWorker
    from distributed.comm.core import CommClosedError

    try:
        yield
    except KilledWorker as killed:
        position = int(str(killed.task).rpartition("-")[2])
        raise WorkerDiedError(
            f"{killed.allowed_failures + 1} Dask workers, one after another, ended in the middle "
            f"of task {position}, the last at {killed.last_worker.address}. Look at its log and "
            "for the kernel's out-of-memory killer",
            (position,),
        ) from killed
    except (CancelledError, CommClosedError) as lost:
        raise ClusterError(
            f"the Dask scheduler at {cluster.address} was lost, or dropped the tasks: {lost}; look "
            "at its log, and run again: what was finished is kept"
        ) from lost

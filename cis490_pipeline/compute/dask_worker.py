"""What runs on a Dask worker: a look at whether it is fit for the work, then the work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cis490_pipeline.compute.installed import installed
from cis490_pipeline.compute.process import keep_freed_memory
from cis490_pipeline.errors import ClusterError


@dataclass(frozen=True)
class Expectation:
    """What every worker must have and see, as the client does."""

    token: str
    """Names this expectation, so that a worker looks once and not at each task."""
    versions: dict[str, str]
    fingerprint: Callable[[], str] | None = None
    """Says what a process sees of the files the work needs; printed, it names them."""
    seen: str = ""
    """What the client saw there."""

    def difference(self) -> str | None:
        """Return the first thing in which this process differs from the client, or None."""
        own = installed()
        for name, wanted in self.versions.items():
            if own.get(name) != wanted:
                return f"has {name} {own.get(name)}, the client {wanted}; install the same on both"
        if self.fingerprint is None:
            return None
        try:
            seen = self.fingerprint()
        # Whatever went wrong there, it is this worker's answer to what it sees.
        except Exception as error:
            return (
                f"does not see {self.fingerprint}: {type(error).__name__}: {error}; mount it there"
            )
        if seen != self.seen:
            return f"sees something else at {self.fingerprint}; mount the same folder there"
        return None


_FIT: set[str] = set()
"""Tokens of expectations this process was found to meet."""


def found_unfit(expected: Expectation) -> str | None:
    """Look at this process, once for each expectation; return the first difference, or None."""
    if expected.token in _FIT:
        return None
    if (why := expected.difference()) is not None:
        return why
    keep_freed_memory()
    _FIT.add(expected.token)
    return None


@dataclass(frozen=True, eq=False)
class Call:
    """One task on its way; opaque to Dask, which would search lists and dictionaries."""

    expected: Expectation
    function: Callable[[Any], Any]
    task: Any


def work(call: Call) -> Any:
    """Do one task.

    Raises
    ------
    ClusterError
        If this worker, which may have joined since the client looked, is not fit for it.
    """
    if (why := found_unfit(call.expected)) is not None:
        from distributed import get_worker

        raise ClusterError(f"Dask worker {get_worker().address} {why}")
    return call.function(call.task)

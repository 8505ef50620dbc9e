"""Code that runs on a Dask worker: validate the environment once, then execute tasks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cis490_pipeline.compute.installed import installed
from cis490_pipeline.compute.process import keep_freed_memory
from cis490_pipeline.errors import ClusterError


@dataclass(frozen=True)
class Expectation:
    """Versions and input files of the client, which every worker must match."""

    token: str
    """Identifies this expectation, so that a worker validates once instead of per task."""
    versions: dict[str, str]
    fingerprint: Callable[[], str] | None = None
    """Fingerprint of the input files as a process sees them; its ``str`` names them."""
    seen: str = ""
    """The client's fingerprint."""

    def difference(self) -> str | None:
        """Return the first difference between this process and the client, or None."""
        own = installed()
        for name, wanted in self.versions.items():
            if own.get(name) != wanted:
                return f"has {name} {own.get(name)}, the client {wanted}; install the same on both"
        if self.fingerprint is None:
            return None
        try:
            seen = self.fingerprint()
        # Any failure to read the files is a difference to report.
        except Exception as error:
            return (
                f"does not see {self.fingerprint}: {type(error).__name__}: {error}; mount it there"
            )
        if seen != self.seen:
            return f"sees something else at {self.fingerprint}; mount the same folder there"
        return None


_FIT: set[str] = set()
"""Tokens of expectations this process meets."""


def found_unfit(expected: Expectation) -> str | None:
    """Validate this process once per expectation; return the first difference, or None."""
    if expected.token in _FIT:
        return None
    if (difference := expected.difference()) is not None:
        return difference
    keep_freed_memory()
    _FIT.add(expected.token)
    return None


@dataclass(frozen=True, eq=False)
class Call:
    """One task in transit; opaque to Dask, which would traverse lists and dictionaries."""

    expected: Expectation
    function: Callable[[Any], Any]
    task: Any


def work(call: Call) -> Any:
    """Execute one task.

    Raises `ClusterError` if this worker, which may have joined after the client's check, does not
    match.
    """
    if (difference := found_unfit(call.expected)) is not None:
        from distributed import get_worker

        raise ClusterError(f"Dask worker {get_worker().address} {difference}")
    return call.function(call.task)

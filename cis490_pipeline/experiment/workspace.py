"""What every stage of an experiment works on: a store, a data folder, workers, a seed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from cis490_pipeline.compute import Compute, compute_with
from cis490_pipeline.config import Settings
from cis490_pipeline.store.layout import DataPaths, EpisodeStore


class Progress(Protocol):
    """Told of a stage's work while it goes on."""

    def __call__(self, what: str, done: int, total: int, detail: str = "") -> None:
        """Hear that ``done`` of ``total`` of some work is done, and how well it goes."""


def no_progress(what: str, done: int, total: int, detail: str = "") -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Workspace:
    """The settings of a run, opened; cheap to make, picklable but for its progress listener."""

    settings: Settings
    progress: Progress = field(default=no_progress, compare=False)

    @cached_property
    def store(self) -> EpisodeStore:
        """The receiver store episodes are read from."""
        return EpisodeStore(self.settings.store)

    @cached_property
    def paths(self) -> DataPaths:
        """Where every file made here lies."""
        return DataPaths(self.settings.data)

    @cached_property
    def compute(self) -> Compute:
        """Where episode-sized work runs."""
        return compute_with(self.settings.workers)

    def reporter(self, what: str) -> Callable[[int, int], None]:
        """Return ``report(done, total)`` for one piece of work called ``what``."""

        def report(done: int, total: int) -> None:
            self.progress(what, done, total)

        return report

"""What every stage of an experiment works on: a store, a data folder, workers, a seed."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cis490_pipeline.compute import Compute, DaskCluster, DaskCompute, compute_with
from cis490_pipeline.compute.progress import Progress, no_progress
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Address
from cis490_pipeline.experiment.stages.shared import SharedData
from cis490_pipeline.storage.data_paths import DataPaths
from cis490_pipeline.store.fingerprint import StoreFingerprint
from cis490_pipeline.store.receiver import ReceiverStore
from cis490_pipeline.store.remote import open_store

if TYPE_CHECKING:
    from cis490_pipeline.experiment.stages.side_by_side import Planned
    from cis490_pipeline.experiment.stages.stage import StageResult

Announce = Callable[["StageResult"], None]
"""Called with each stage once it is there: made, or found up to date."""


def no_announcement(result: "StageResult") -> None:
    """Announce nothing."""


@dataclass(frozen=True)
class Workspace:
    """The settings of a run, opened; cheap to make, picklable but for its listeners."""

    settings: Settings
    progress: Progress = field(default=no_progress, compare=False)
    announce: Announce = field(default=no_announcement, compare=False)
    run: str = field(default="", compare=False)
    """Name of the run, in the keys of tasks on a cluster."""
    accept_loss: bool = field(default=False, compare=False)
    """Whether a sweep goes on however many of the known episodes the store has lost. No setting:
    kept in a file or the environment, it would hide the next store that is not mounted."""
    planned: "Planned | None" = field(default=None, compare=False)
    """What a run that asks for stages one by one will ask for."""

    def with_listeners(self, progress: Progress, announce: Announce) -> Self:
        """Return this workspace, opened as it is, with other listeners."""
        return self._with(progress=progress, announce=announce)

    def with_plan(self, planned: "Planned | None") -> Self:
        """Return this workspace, opened as it is, for a run that asks for planned stages."""
        return self._with(planned=planned)

    def elsewhere(self, progress: Progress) -> Self:
        """Return this workspace as a process gets it that makes a stage for this one."""
        other = self._with(progress=progress, announce=no_announcement, planned=None)
        if self.shared is not None:
            vars(other).update(shared=self.shared.as_seen())
            vars(other).pop("paths", None)
        return other

    def _with(self, **changes: object) -> Self:
        # Not dataclasses.replace: what is cached would be lost, and a store elsewhere listed again.
        other = copy.copy(self)
        vars(other).update(changes)
        return other

    @cached_property
    def store(self) -> ReceiverStore:
        """The receiver store episodes are read from; one elsewhere as it was when first listed."""
        place = self.settings.store
        if isinstance(place, Path) and self.settings.dask_address is not None:
            # A worker elsewhere has another working folder.
            place = place.absolute()
        return open_store(place)

    @cached_property
    def shared(self) -> SharedData | None:
        """The shared data and their local copy, if they are kept at an address."""
        data = self.settings.data
        return SharedData(data, self.settings.cache) if isinstance(data, Address) else None

    @cached_property
    def paths(self) -> DataPaths:
        """Where every file made here lies; of shared data, in the local copy.

        Asking for a path of shared data first fetches the files that records list there.
        """
        if self.shared is not None:
            return DataPaths(self.shared.root, self.shared.fetch)
        assert isinstance(self.settings.data, Path)
        return DataPaths(self.settings.data)

    @cached_property
    def compute(self) -> Compute:
        """Where episode-sized work runs: on a Dask cluster if one is set, else on this machine."""
        settings = self.settings
        if settings.dask_address is None:
            return compute_with(settings.workers)
        return DaskCompute(
            DaskCluster(
                address=settings.dask_address,
                ca=settings.dask_tls_ca,
                certificate=settings.dask_tls_certificate,
                key=settings.dask_tls_key,
                run=self.run,
                fingerprint=StoreFingerprint(self.store),
            )
        )

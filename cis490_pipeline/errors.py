"""One exception per kind of fault.

Each message says where, what was found, what was wanted, and what to do. What the operating system
refuses stays an ``OSError``, with the path in it; `advice_on` says what to do about it.
"""

import errno
from typing import Final

_ROOM: Final = "free space there, or name another place; what was finished is kept, run again"
_RIGHTS: Final = "give this user the right to it, or name another place"
_ADVICE: Final = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "it is mounted to be read only: name another place",
    errno.ENOTDIR: "a part of that path is a file: remove it, or name another place",
    errno.EISDIR: "a file was wanted there: name another place",
    errno.ELOOP: "its links lead in a circle: remove them, or name another place",
    errno.ENAMETOOLONG: "name a shorter one",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n), or use fewer --workers",
    errno.ENFILE: "too many files are open on this machine: end what holds them",
    errno.EIO: "look at the disk, or the network behind it",
}


def advice_on(fault: OSError) -> str | None:
    """Return what a person can do about a fault of the operating system, if that is known."""
    return None if fault.errno is None else _ADVICE.get(fault.errno)


class PipelineError(Exception):
    """Base of every fault this project names."""


class ConfigError(PipelineError):
    """A setting is missing, unknown or out of range."""


class StateNotKeptError(PipelineError):
    """A dashboard's events cannot be written to disk, so that none of them is acknowledged."""

    def __init__(self, message: str, *, no_room: bool) -> None:
        super().__init__(message)
        self.no_room = no_room


class WorkerDiedError(PipelineError):
    """A worker process ended in the middle of a task, without a word.

    Carries the positions of the tasks that were under way; one of them is to blame.
    """

    def __init__(self, message: str, positions: tuple[int, ...]) -> None:
        super().__init__(message)
        self.positions = positions


class ClusterError(PipelineError):
    """A Dask cluster cannot be reached, was lost, or differs from this process."""


class StoreError(PipelineError):
    """A receiver store, its index or an archive cannot be read as the format says."""


class ChangedMeanwhileError(StoreError):
    """Somebody else replaced what was about to be replaced here."""


class EpisodeRejectedError(StoreError):
    """An episode cannot be used; carries the reason codes of its verdict."""

    def __init__(self, message: str, reasons: tuple[str, ...]) -> None:
        super().__init__(message)
        self.reasons = reasons


class TelemetryError(PipelineError):
    """Readings break the rules of their channel (time goes back, wrong shape)."""


class SchemaMismatchError(PipelineError):
    """Something was made with other features than this code builds."""


class CalibrationError(PipelineError):
    """No sound baseline to calibrate on."""


class SplitError(PipelineError):
    """A split cannot be made, or would leak."""


class DatasetError(PipelineError):
    """A dataset's files are missing, changed, or not what their manifest says."""


class GateError(DatasetError):
    """A blocking check of an artefact fails: nothing is made from it until its cause is gone."""


class CheckpointError(PipelineError):
    """A checkpoint is damaged, incomplete or of an unknown version."""


class TrainingError(PipelineError):
    """Training cannot go on (no data of a class, loss not finite)."""


class NotFittedError(PipelineError):
    """A model was asked to predict before it was fitted or restored."""


class EvaluationError(PipelineError):
    """Predictions cannot be scored or compared."""


class EventError(PipelineError):
    """A dashboard event breaks the contract, or could not be delivered."""


class EventRefusedError(EventError):
    """A dashboard was reached and would not take the events; carries the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

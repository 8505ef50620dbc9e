"""Exception hierarchy: one class per kind of fault.

Each message states the place, what was found, what was expected, and the remedy. Operating system
errors stay ``OSError`` with their path; `advice_on` gives the remedy.
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
    errno.EROFS: "it is mounted read-only: name another place",
    errno.ENOTDIR: "a part of that path is a file: remove it, or name another place",
    errno.EISDIR: "a file was wanted there: name another place",
    errno.ELOOP: "its links lead in a circle: remove them, or name another place",
    errno.ENAMETOOLONG: "name a shorter one",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n), or use fewer --workers",
    errno.ENFILE: "too many files are open on this machine: end what holds them",
    errno.EIO: "check the disk, or the network behind it",
}


def advice_on(fault: OSError) -> str | None:
    """Return the remedy for an operating system error, or None if none is known."""
    return None if fault.errno is None else _ADVICE.get(fault.errno)


class PipelineError(Exception):
    """Base class of all exceptions of this package."""


class ConfigError(PipelineError):
    """A setting is missing, unknown or out of range."""


class StateNotKeptError(PipelineError):
    """A dashboard cannot write events to disk and therefore acknowledges none of them."""

    def __init__(self, message: str, *, no_room: bool) -> None:
        super().__init__(message)
        self.no_room = no_room


class WorkerDiedError(PipelineError):
    """A worker process died during a task without raising an exception.

    Carries the positions of the tasks that were running; one of them is the likely cause.
    """

    def __init__(self, message: str, positions: tuple[int, ...]) -> None:
        super().__init__(message)
        self.positions = positions


class ClusterError(PipelineError):
    """A Dask cluster is unreachable, was lost, or does not match this process."""


class StoreError(PipelineError):
    """A receiver store, its index or an archive cannot be read or violates the format."""


class ChangedMeanwhileError(StoreError):
    """Another writer changed a file between reading and replacing it."""


class EpisodeRejectedError(StoreError):
    """An episode was rejected; carries the reason codes of its verdict."""

    def __init__(self, message: str, reasons: tuple[str, ...]) -> None:
        super().__init__(message)
        self.reasons = reasons


class RecordingError(PipelineError):
    """A run could not be recorded: the machine, its guest or this host failed."""


class TelemetryError(PipelineError):
    """Readings violate the rules of their channel (time goes back, wrong shape)."""


class SchemaMismatchError(PipelineError):
    """An artefact was built with a different feature schema than this code's."""


class CalibrationError(PipelineError):
    """No valid baseline to calibrate against."""


class SplitError(PipelineError):
    """A split cannot be made, or would leak between sides."""


class DatasetError(PipelineError):
    """A dataset's files are missing, changed, or do not match their manifest."""


class GateError(DatasetError):
    """A blocking check of an artefact failed; nothing is derived from it until that is fixed."""


class CheckpointError(PipelineError):
    """A checkpoint is damaged, incomplete or of an unknown version."""


class TrainingError(PipelineError):
    """Training cannot continue (a class without data, a loss that is not finite)."""


class NotFittedError(PipelineError):
    """A model was used before it was fitted or restored."""


class EvaluationError(PipelineError):
    """Predictions cannot be scored or compared."""


class EventError(PipelineError):
    """A dashboard event violates the contract or could not be delivered."""


class DashboardDownError(EventError):
    """A dashboard does not answer, or takes nothing now; the same events may be accepted later."""


class EventRefusedError(EventError):
    """A dashboard refused the events; carries the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

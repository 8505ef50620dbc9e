"""Progress of long work, as every layer reports it."""

from typing import Protocol


class Progress(Protocol):
    """Progress listener."""

    def __call__(self, what: str, done: int, total: int, detail: str = "") -> None:
        """Report that ``done`` of ``total`` of a task is done, with an optional detail."""


def no_progress(what: str, done: int, total: int, detail: str = "") -> None:
    """Report nothing."""

"""Progress of long work: the one protocol of every layer, and its lines of text."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

_MINUTE_S: Final = 60.0


class Progress(Protocol):
    """Progress listener."""

    def __call__(self, what: str, done: int, total: int, detail: str = "") -> None:
        """Report that ``done`` of ``total`` of a task is done, with an optional detail.

        A task ends with ``done == total``. Fewer done than before begins it again: the next recipe
        trains a model of the same name. What is done at its first report took no time.
        """


def no_progress(what: str, done: int, total: int, detail: str = "") -> None:
    """Report nothing."""


def both(first: Progress, second: Progress) -> Progress:
    """Return a listener that passes every report to two."""

    def report(what: str, done: int, total: int, detail: str = "") -> None:
        first(what, done, total, detail)
        second(what, done, total, detail)

    return report


@contextmanager
def working(progress: Progress, what: str, detail: str = "") -> Iterator[None]:
    """Report a task of one piece, of which only begin and end are known."""
    progress(what, 0, 1, detail)
    yield
    progress(what, 1, 1, detail)


@dataclass
class _Task:
    """A task since its first report."""

    what: str
    begun_s: float
    kept: int
    """Done at the first report, of an earlier run."""
    done: int
    total: int
    detail: str
    reported_s: float

    def text(self, now_s: float) -> str:
        """Describe what is done, how fast, and how long the rest takes at that rate."""
        parts = [] if self.total == 1 else [f"{self.done} of {self.total}"]
        elapsed_s = self.reported_s - self.begun_s
        if self.done >= self.total:
            parts.append(f"done {duration(now_s - self.reported_s)} ago")
        elif self.done > self.kept and elapsed_s > 0:
            rate = (self.done - self.kept) / elapsed_s
            left_s = (self.total - self.done) / rate - (now_s - self.reported_s)
            parts.append(f"{rate:,.1f}/s" if rate >= 1 else f"{1 / rate:,.1f} s each")
            parts.append(f"{duration(max(left_s, 0.0))} left")
        else:
            parts.append(f"begun {duration(now_s - self.begun_s)} ago")
        return f"{self.what}: {', '.join([*parts, self.detail] if self.detail else parts)}"


class ProgressLines:
    """Progress listener that writes lines of text, few whatever is reported how often.

    Parameters
    ----------
    write : called with each line.
    every_s : least time between two lines.
    quiet_s : time without a report after which `tick` repeats the newest.
    clock : seconds, never going back.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        every_s: float,
        quiet_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write, self._every_s, self._quiet_s, self._clock = write, every_s, quiet_s, clock
        self._tasks: dict[str, _Task] = {}
        self._newest: _Task | None = None
        self._written_s = clock()
        # The ticking thread and the working one both write.
        self._lock = threading.Lock()

    def __call__(self, what: str, done: int, total: int, detail: str = "") -> None:
        """Report progress of a task; write a line if the last was long enough ago."""
        with self._lock:
            now_s = self._clock()
            task = self._tasks.get(what)
            if task is None or done < task.done:
                task = _Task(what, now_s, done, done, total, detail, now_s)
                self._tasks[what] = task
            task.done, task.total, task.detail, task.reported_s = done, total, detail, now_s
            if done >= total:
                del self._tasks[what]
            self._newest = task
            self._line(now_s, self._every_s)

    def tick(self) -> None:
        """Write the newest report again if nothing was written for a while."""
        with self._lock:
            self._line(self._clock(), self._quiet_s)

    def _line(self, now_s: float, after_s: float) -> None:
        if self._newest is not None and now_s - self._written_s >= after_s:
            self._written_s = now_s
            self._write(self._newest.text(now_s))

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Tick in a thread, so that no work is silent for long, whether or not it reports."""
        ended = threading.Event()

        def tick() -> None:
            while not ended.wait(self._quiet_s / 10):
                self.tick()

        thread = threading.Thread(target=tick, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def duration(seconds: float) -> str:
    """Return a time as people say it: ``45 s``, ``12 min``, ``3.5 h``."""
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:,.0f} s"
    minutes = seconds / _MINUTE_S
    return f"{minutes:.0f} min" if minutes < 2 * _MINUTE_S else f"{minutes / _MINUTE_S:.1f} h"

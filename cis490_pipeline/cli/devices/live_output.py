"""Output and ending of ``live``: a stuck or closed terminal or pipe never stops it."""

import io
import signal
import sys
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import Final, Self, TextIO

import click

from cis490_pipeline.cli.main import EXIT_FINDINGS
from cis490_pipeline.cli.options import stderr
from cis490_pipeline.live.outputs.line_output import LineOutput, OpenTarget
from cis490_pipeline.live.outputs.sinks import REPLAY_WAIT_S
from cis490_pipeline.live.run import Ended

_FIRST_WINDOW_S: Final = 27


class Printer:
    """Prints lines on standard output; waits for a slow reader only in a replay (``wait``)."""

    def __init__(self, *, wait: bool) -> None:
        self._target = None
        self.output: LineOutput | None = None
        """Output behind the printer; None if standard output has no file descriptor."""
        fd = _fd_of(sys.stdout)
        if fd is not None:
            self._target = OpenTarget(fd)
            wait_s = REPLAY_WAIT_S if wait else 0.0
            self.output = LineOutput("standard output", self._target, wait_s=wait_s)

    def __call__(self, text: str) -> None:
        """Print a line."""
        if self.output is None:
            click.echo(text)
        else:
            self.output.write(text.encode("utf-8", "backslashreplace") + b"\n")

    @property
    def gone(self) -> bool:
        """Whether the reader of standard output has gone."""
        return self._target is not None and self._target.gone


class Stop:
    """Records a request to stop, so that the run ends in order.

    Handles SIGTERM (service managers) and SIGHUP (a terminal that closes).
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


def say(text: str) -> None:
    """Print a line on standard error without blocking."""
    fd = _fd_of(sys.stderr)
    if fd is None:
        stderr.print(text, markup=False, highlight=False, soft_wrap=True)
    else:
        _errors_to(fd).write(text.encode("utf-8", "backslashreplace") + b"\n")


def say_end(ended: Ended, *, stopped: bool) -> int:
    """Print how a run ended, and return its exit code.

    It is 1 if output was lost, or no row could be used though it was not stopped by request.
    """
    state, faults = ended.state, ended.faults
    sources = state.sources.values()
    used = sum(source.n_used for source in sources)
    late = sum(source.n_late for source in sources)
    aside = sum(source.n_set_aside for source in sources)
    text = f"ended after {state.n_windows} windows; {late} rows late, {faults.n} lines left out"
    text += f", {aside} rows set aside" if aside else ""
    offsets = [f"{s} {r.offset_s:+.1f} s" for s, r in state.sources.items() if r.offset_s]
    text += f"; clocks corrected: {', '.join(offsets)}" if offsets else ""
    say(text)
    lost = [sink for sink in state.sinks if sink.n_lost]
    for sink in lost:
        say(f"{sink.name}: {sink.n_lost} lines were lost")
    if used == 0 and not stopped:
        say(_nothing_used(faults.n, faults.first, aside))
        return EXIT_FINDINGS
    if state.n_windows == 0:
        say(f"no window: the first takes {_FIRST_WINDOW_S} s of rows, or 12 s with a calibration")
    return EXIT_FINDINGS if lost else 0


def _nothing_used(n_left_out: int, first: list[str], n_aside: int) -> str:
    if not n_left_out and not n_aside:
        return "no row arrived: nothing is known of any device"
    named = "".join(f"\n  {fault}" for fault in first)
    aside = f"; {n_aside} rows fitted no time" if n_aside else ""
    return f"no row could be used: {n_left_out} lines are no rows{aside}{named}"


@cache
def _errors_to(fd: int) -> LineOutput:
    return LineOutput("standard error", OpenTarget(fd))


def _fd_of(stream: TextIO | None) -> int | None:
    """File descriptor of a standard stream; None if it is closed or has none."""
    if stream is None:
        return None
    try:
        return stream.fileno()
    except (io.UnsupportedOperation, ValueError):
        return None

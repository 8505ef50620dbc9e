"""Feed of a child process that prints rows, started again whenever it ends."""

import os
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Final

from cis490_pipeline.live.feeds.feed import PIECE_BYTES, Arrival, Feed
from cis490_pipeline.live.feeds.lines import LineAssembler
from cis490_pipeline.live.feeds.stream import line_arrivals
from cis490_pipeline.store.rows.row import RowFault

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 60.0
STEADY_S: Final = 60.0
"""Running time after which the next restart is again after the first wait."""
_END_S: Final = 3.0


class AgentFeed(Feed):
    """Rows of a child process, such as the agent on the same device.

    A child that ends is a faulty line and is started again, after waits that double from 1 s to
    1 min. It gets this process's standard error, so that its own messages reach the person.

    Parameters
    ----------
    words : command to run.
    name : name of the device.
    clock : monotonic clock, s.
    """

    def __init__(
        self, words: Sequence[str], name: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._words, self._name, self._clock = list(words), name, clock
        self._lines = LineAssembler()
        self._child: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._wait_s = FIRST_WAIT_S
        self._due_s = clock()

    @property
    def name(self) -> str:
        """Name of the device."""
        return self._name

    @property
    def pid(self) -> int | None:
        """Process id of the running child."""
        return None if self._child is None else self._child.pid

    def poll(self, wait_s: float) -> list[Arrival]:
        """Return the lines that arrived; start the child if it is due."""
        if self._child is None:
            left_s = self._due_s - self._clock()
            if left_s > 0:
                time.sleep(min(left_s, wait_s))
                return []
            fault = self._start()
            if fault is not None:
                return [fault]
        assert self._child is not None
        assert self._child.stdout is not None
        fd = self._child.stdout.fileno()
        if not select.select([fd], [], [], wait_s)[0]:
            return []
        piece = os.read(fd, PIECE_BYTES)
        if piece:
            return list(line_arrivals(self._lines.feed(piece), self._name))
        return [*line_arrivals(self._lines.finish(), self._name), self._ended_child()]

    def close(self) -> None:
        """End the child: SIGTERM, then SIGKILL after 3 s."""
        child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        try:
            child.wait(_END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        assert child.stdout is not None
        child.stdout.close()

    def _start(self) -> RowFault | None:
        self._lines = LineAssembler()
        self._started_s = self._clock()
        try:
            self._child = subprocess.Popen(  # noqa: S603 - words of the program itself, no shell
                self._words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
            )
        except OSError as fault:
            return self._again(f"cannot be started: {fault}")
        return None

    def _ended_child(self) -> RowFault:
        child = self._child
        assert child is not None
        assert child.stdout is not None
        child.stdout.close()
        code = child.wait()
        self._child = None
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return self._again(how)

    def _again(self, how: str) -> RowFault:
        if self._clock() - self._started_s >= STEADY_S:
            self._wait_s = FIRST_WAIT_S
        wait_s = self._wait_s
        self._due_s = self._clock() + wait_s
        self._wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        problem = f"the agent {how}; it is started again in {wait_s:g} s"
        return RowFault(self._name, self._lines.number, None, problem)

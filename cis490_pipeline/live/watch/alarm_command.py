"""Command that runs on each new verdict: alarm, its end, loss of telemetry."""

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from typing import Final

from cis490_pipeline.errors import ConfigError
from cis490_pipeline.live.watch.verdict import Change, Verdict

TIMEOUT_S: Final = 60.0
"""Seconds after which a command is ended."""
MAX_RUNNING: Final = 4
_CALLED_FOR: Final = (Verdict.ALARM, Verdict.NO_TELEMETRY)


class AlarmCommand:
    """Runs a command in the background, without a shell, and reports what became of it.

    The verdict is in the environment (``CIS490_VERDICT``, ``CIS490_BEFORE``, ``CIS490_TEXT``,
    ``CIS490_DEVICE``) and, with its time and phase, as a JSON object on standard input.

    Parameters
    ----------
    command : words of the command, quoted as for a shell.
    device : name of the watched device.
    say : prints a line.
    clock : monotonic clock, s.

    Raises
    ------
    ConfigError
        If the command is empty or its quotes do not match.
    """

    def __init__(
        self,
        command: str,
        device: str,
        say: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as fault:
            raise ConfigError(
                f"--on-alarm {command!r}: {fault}; quote it as for a shell"
            ) from fault
        if not self._words:
            raise ConfigError("--on-alarm names no command")
        self._device, self._say, self._clock = device, say, clock
        self._running: list[tuple[subprocess.Popen[bytes], float]] = []

    def changed(self, change: Change) -> None:
        """Run the command if an alarm begins or ends, or telemetry is lost or back."""
        if change.verdict not in _CALLED_FOR and change.before not in _CALLED_FOR:
            return
        self.poll()
        if len(self._running) >= MAX_RUNNING:
            self._say(f"--on-alarm is not run: {MAX_RUNNING} earlier calls have not ended")
            return
        facts = {
            "verdict": str(change.verdict),
            "before": str(change.before),
            "text": change.text,
            "device": self._device,
        }
        environment = {f"CIS490_{key.upper()}": value for key, value in facts.items()}
        detail = facts | {
            "t_wall_ns": change.t_ns,
            "phase": None if change.phase is None else str(change.phase),
            "without": [str(source) for source in change.without],
        }
        self._start(environment, json.dumps(detail).encode() + b"\n")

    def poll(self) -> None:
        """Collect ended commands, and end those that take too long."""
        still = []
        for process, began in self._running:
            code = process.poll()
            if code is None and self._clock() - began < TIMEOUT_S:
                still.append((process, began))
            elif code is None:
                process.kill()
                process.wait()
                self._say(f"--on-alarm was ended after {TIMEOUT_S:.0f} s: {self._words[0]}")
            elif code != 0:
                self._say(f"--on-alarm failed with exit code {code}: {self._words[0]}")
        self._running = still

    def close(self) -> None:
        """Wait for running commands within their time, then end them."""
        while self._running:
            self.poll()
            if self._running:
                time.sleep(0.05)

    def _start(self, environment: dict[str, str], detail: bytes) -> None:
        try:
            process = subprocess.Popen(  # noqa: S603 - the person who runs `watch` names it
                self._words,
                stdin=subprocess.PIPE,
                env=os.environ | environment,
                start_new_session=True,
            )
        except OSError as fault:
            self._say(f"--on-alarm cannot be run: {fault}")
            return
        assert process.stdin is not None
        try:
            # Far below a pipe's 64 KiB: it never blocks.
            process.stdin.write(detail)
            process.stdin.close()
        except BrokenPipeError:
            pass
        self._running.append((process, self._clock()))

"""SIGKILL of `watch` during an alarm and while it stores one; and an agent that stops in an alarm.

The device is a recorded one, replayed: what was learnt comes from its clean lead.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.faults.outcomes import Outcome, Place, checked
from benchmarks.faults.processes import (
    ROOT,
    Running,
    descendants,
    ended,
    is_running,
    wait_for,
)
from benchmarks.faults.receivers import KILLED_AT_RENAME, state_of
from cis490_pipeline.live.watch.kept_alarms import FILE

EPISODES: Final = ROOT / "data/sample/episodes"
_LEAD_S: Final = 20.0
"""Time of the recording that is replayed before its alarm."""
_STANDS: Final = 8
"""Windows that an alarm must stand for."""
_WATCH: Final = """
import importlib, sys
watch = importlib.import_module("cis490_pipeline.cli.devices.watch")
watch._agent_words = lambda *_: [sys.executable, "-m", "benchmarks.faults.replay", *{replay}]
"""


@dataclass(frozen=True)
class Alarming:
    """A recording in which the leading model raises an alarm that stands, at a time in it."""

    archive: Path
    at_s: float


def an_alarming_recording(place: Place) -> Alarming:
    """Find one, and store what is learnt from its clean lead in ``state``."""
    for archive in sorted(EPISODES.glob("*/*.tar.zst")):
        state = place.folder / "state"
        shutil.rmtree(state, ignore_errors=True)
        words = ["live", archive, "--bundle", place.bundle, "--state", state, "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "cis490_pipeline", *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        leading = re.search(r"models, (\S+) leads", done.stderr)
        windows = [row for row in map(json.loads, done.stdout.splitlines()) if "models" in row]
        if leading is None or not windows:
            raise SystemExit(f"{archive}: no window: {done.stderr}")
        on = [row["models"][leading[1]]["alarm"]["standing"] for row in windows]
        at = next((k for k in range(len(on)) if all(on[k : k + _STANDS])), None)
        if at is not None and at + _STANDS <= len(on) and state.is_dir():
            began_ns = windows[0]["t_start_wall_ns"]
            return Alarming(archive, (windows[at]["t_end_wall_ns"] - began_ns) / 1e9)
    raise SystemExit("the leading model raises no alarm in any recording of the sample")


class Watch:
    """`cis490 watch` of a replayed device."""

    def __init__(self, place: Place, found: Alarming) -> None:
        self.place, self.found, self.folder = place, found, place.folder
        self.calls = place.folder / "calls"
        self.running: Running | None = None

    def start(self, ahead_s: float, before: str = "", first: Sequence[str] = ()) -> Running:
        """Start it with the recording at a time before its alarm."""
        # The baseline's 15 s are before window 0 of the recording.
        start_s = max(0.0, 15 + self.found.at_s - ahead_s)
        code = _WATCH.format(replay=(str(self.found.archive), str(start_s)))
        code += before or "from cis490_pipeline.cli import main\nmain(sys.argv[1:])\n"
        script = self.folder / "on-alarm"
        script.write_text(f'#!/bin/sh\necho "$CIS490_VERDICT" >> {self.calls}\n')
        script.chmod(0o755)
        words = ["watch", "--bundle", str(self.place.bundle), "--device", "replayed"]
        words += ["--state", str(self.folder / "state"), "--on-alarm", str(script)]
        command = [sys.executable, "-c", code, *first, *words]
        self.running = Running(command, self.folder, "watch")
        return self.running

    def printed(self) -> list[str]:
        """Return the verdicts that it printed."""
        path = self.folder / "watch.out"
        return path.read_text().splitlines() if path.exists() else []

    def n_printed(self, word: str) -> int:
        """Count the verdicts that hold a word."""
        return sum(word in line for line in self.printed())

    def alarms_called(self) -> int:
        """Count the calls of ``--on-alarm`` for an alarm."""
        return self.calls.read_text().split().count("alarm") if self.calls.exists() else 0

    def stored(self) -> dict[str, Any]:
        """Return the alarms on disk; an error if they are half written."""
        path = self.folder / "state" / FILE
        return json.loads(path.read_text())["models"] if path.exists() else {}


def watch_killed(place: Place) -> Iterator[Outcome]:
    watch = Watch(place, an_alarming_recording(place))
    calibration = (place.folder / "state" / "calibration.json").read_bytes()
    try:
        yield _during_an_alarm(watch)
        yield _without_rows(watch)
        yield _while_storing(watch)
    finally:
        with ended(*([watch.running] if watch.running else [])):
            pass
    assert (place.folder / "state" / "calibration.json").read_bytes() == calibration


def _during_an_alarm(watch: Watch) -> Outcome:
    running = watch.start(_LEAD_S)
    wait_for("an alarm", lambda: watch.n_printed("ALARM"), 90)
    time.sleep(0.5)
    children = descendants(running.pid)
    running.kill()
    wait_for("its agent ends", lambda: not any(map(is_running, children)), 5)
    stored = [name for name, alarm in watch.stored().items() if alarm["alarming"]]
    ready = watch.n_printed("ready")
    watch.start(0.0)
    time.sleep(20)
    facts: dict[str, object] = {
        "alarms on disk": len(stored),
        "after the restart: ready": watch.n_printed("ready") - ready,
        "ALARM again": watch.n_printed("ALARM") - 1,
        "calls of --on-alarm": watch.alarms_called(),
        "its agent": "ended with it",
    }
    holds = [
        bool(stored),
        watch.n_printed("ready") == ready,
        watch.n_printed("ALARM") == 1,
        watch.alarms_called() == 1,
    ]
    wanted = "the alarm goes on, is neither forgotten nor raised again; no agent is left"
    return checked("kill -9 watch", "during an alarm", wanted, facts, holds)


def _without_rows(watch: Watch) -> Outcome:
    assert watch.running is not None
    [child] = descendants(watch.running.pid)
    os.kill(child, signal.SIGSTOP)
    began = time.monotonic()
    wait_for("silence is named", lambda: watch.n_printed("no telemetry"), 20)
    after_s = time.monotonic() - began
    line = next(line for line in watch.printed() if "no telemetry" in line)
    os.kill(child, signal.SIGKILL)
    wait_for("telemetry is back", lambda: "no telemetry" not in watch.printed()[-1], 30)
    facts: dict[str, object] = {
        f"after {after_s:.0f} s": f'"{line.partition(" ")[2]}"',
        "then": f'"{watch.printed()[-1].partition(" ")[2]}"',
    }
    wanted = "no telemetry: no alarm stands; it is back with the next agent"
    return checked("stop, kill -9 agent", "during an alarm", wanted, facts, [after_s < 12])


def _while_storing(watch: Watch) -> Outcome:
    assert watch.running is not None
    watch.running.end()
    before = watch.stored()
    running = watch.start(_LEAD_S, before=KILLED_AT_RENAME, first=[FILE])
    running.process.wait(60)
    state = state_of(watch.folder / "state")
    same = watch.stored() == before
    printed = len((watch.folder / "watch.err").read_text())
    watch.start(0.0)
    wait_for("the restart", lambda: "what is usual was learnt" in watch_err(watch)[printed:], 30)
    leftover = len([*(watch.folder / "state").glob(".*.tmp")])
    facts: dict[str, object] = {
        "calibration": state,
        "alarms": "the earlier ones, whole" if same else "CHANGED",
        "restart": "goes on with both",
        "hidden files left": leftover,
    }
    wanted = "state is the earlier one or the new one, never a half; the restart goes on with it"
    return checked("kill -9 watch", "while writing state", wanted, facts, [state == "whole", same])


def watch_err(watch: Watch) -> str:
    return (watch.folder / "watch.err").read_text()

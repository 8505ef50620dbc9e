"""Full disks: a small tmpfs under each output, filled up, and emptied again."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.faults.agents import Pair
from benchmarks.faults.outcomes import Outcome, Place, checked
from benchmarks.faults.processes import Running, agent, ended, json_lines, wait_for
from benchmarks.faults.receivers import state_of

_FILLER: Final = "filler"
WANTED: Final = "named once, nothing half written, nothing ends; goes on once there is room"


@contextmanager
def small_disk(folder: Path, n_bytes: int) -> Iterator[Path]:
    """Mount a file system of a given size on a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "small", str(folder)]
    subprocess.run(command, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Leave no room on a disk."""
    with (disk / _FILLER).open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 12)):
                pass
        except OSError:
            return


def make_room(disk: Path) -> None:
    (disk / _FILLER).unlink()


def disk_full(place: Place) -> Iterator[Outcome]:
    yield _of_the_agent(place.within("agent"))
    yield from _of_the_receiver(place.within("live"))


def _of_the_agent(place: Place) -> Outcome:
    with small_disk(place.folder / "disk", 64 << 10) as disk:
        fill(disk)
        with (disk / _FILLER).open("rb+") as filler:
            # Room for less than a row, so that one is cut.
            filler.truncate(60 << 10)
        running = _redirected(place.folder, disk / "rows")
        with ended(running):
            wait_for("it is named", lambda: "No space left" in running.text_of_errors(), 20)
            time.sleep(3)
            make_room(disk)
            wait_for("rows go out", lambda: "rows go out" in running.text_of_errors(), 20)
            running.end()
        content = (disk / "rows").read_bytes().splitlines()
        rows = [json.loads(line) for line in content]
        named = running.text_of_errors().count("No space left")
    times = [row["t_mono_ns"] for row in rows if row["source"] == "guest_agent"]
    facts: dict[str, object] = {
        "lines": f"{len(rows)}, all whole",
        "rows twice": len(times) - len(set(times)),
        "named": f"{named} time",
    }
    holds = [len(times) == len(set(times)), named == 1, len(rows) > 3]
    return checked("disk full", "agent > FILE", WANTED, facts, holds)


class _Redirected(Running):
    """An agent whose standard output is a file on another disk."""

    def text_of_errors(self) -> str:
        return self.err_path.read_text("utf-8", "replace")


def _redirected(folder: Path, rows: Path) -> _Redirected:
    command = f"exec {sys.executable} -m cis490_pipeline.collect --no-netflow > {rows}"
    return _Redirected(["sh", "-c", command], folder, "agent")


def _of_the_receiver(place: Place) -> Iterator[Outcome]:
    pair = Pair(place)
    with (
        small_disk(place.folder / "state", 64 << 10) as state,
        small_disk(place.folder / "out", 64 << 10) as out,
    ):
        fill(state)
        pair.agent = agent(place.folder, pair.to)
        pair.start_receiver("--out", out / "live.jsonl")
        try:
            wait_for("it is learnt", lambda: "cannot be stored" in _messages(pair), 90)
            fill(out)
            time.sleep(12)
            make_room(state)
            make_room(out)
            wait_for("it is stored", (state / "calibration.json").exists, 20)
            time.sleep(7)
            code = pair.receiver.end() if pair.receiver else -1
        finally:
            with ended(*(one for one in (pair.agent, pair.receiver) if one)):
                pass
        yield _of_state(pair, state)
        yield _of_out(pair, out / "live.jsonl", code)


def _messages(pair: Pair) -> str:
    return (pair.folder / "live.err").read_text()


def _of_state(pair: Pair, state: Path) -> Outcome:
    named = _messages(pair).count("cannot be stored")
    hidden = len([*state.glob(".*.tmp")])
    facts: dict[str, object] = {
        "named": f"{named} time",
        "then": state_of(state),
        "half files": hidden,
    }
    holds = [named == 1, state_of(state) == "whole", not hidden]
    return checked("disk full", "live and watch --state", WANTED, facts, holds)


def _of_out(pair: Pair, path: Path, code: int) -> Outcome:
    lines = path.read_bytes().splitlines()
    parsed = [json.loads(line) for line in lines]
    windows = [row["window_idx"] for row in json_lines(path, "window")]
    named = _messages(pair).count("No space left on device: ")
    missing = len({*range(windows[0], windows[-1] + 1)} - {*windows})
    facts: dict[str, object] = {
        "lines": f"{len(parsed)}, all whole",
        "windows missing": missing,
        "named": f"{named} time",
        "exit code": code,
    }
    holds = [not missing, named >= 1, code == 0]
    return checked("disk full", "live --out", WANTED, facts, holds)

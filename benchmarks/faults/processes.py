"""Processes that faults are made to, and what they wrote."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

ROOT: Final = Path(__file__).parents[2]
T = TypeVar("T")


class Running:
    """A process whose two outputs go to files, which are appended to if it is started again."""

    def __init__(self, words: Sequence[str | Path], folder: Path, name: str) -> None:
        self.out_path, self.err_path = folder / f"{name}.out", folder / f"{name}.err"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with self.out_path.open("ab") as out, self.err_path.open("ab") as err:
            self.process = subprocess.Popen(
                [str(word) for word in words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=folder,
                env=environment,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def text(self) -> str:
        """Return what it, and earlier ones of its name, wrote to both outputs."""
        return self.out_path.read_text("utf-8", "replace") + self.err_path.read_text(
            "utf-8", "replace"
        )

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        """End it by SIGTERM; return its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


@contextmanager
def ended(*running: Running) -> Iterator[None]:
    """End processes however the block ends."""
    try:
        yield
    finally:
        for one in running:
            if one.process.poll() is None:
                one.kill()


def agent(folder: Path, to: str, *words: str, device: str = "here") -> Running:
    """Start an agent of this machine."""
    command = [sys.executable, "-m", "cis490_pipeline.collect", "--to", to, "--device", device]
    return Running([*command, *words], folder, f"agent-{device}")


def live(folder: Path, source: str, bundle: Path, *words: str | Path) -> Running:
    """Start a receiver, which appends its windows and states to ``live.jsonl``."""
    command = [sys.executable, "-m", "cis490_pipeline", "live", source, "--bundle", bundle]
    return Running([*command, "--plain", "--out", folder / "live.jsonl", *words], folder, "live")


def wait_for(what: str, find: Callable[[], T], limit_s: float = 60.0) -> T:
    """Wait until a value is true and return it; raise with ``what`` if it never is."""
    until_s = time.monotonic() + limit_s
    while not (value := find()):
        if time.monotonic() > until_s:
            raise TimeoutError(f"{what}: not within {limit_s:g} s")
        time.sleep(0.02)
    return value


def json_lines(path: Path, kind: str) -> list[dict[str, Any]]:
    """Complete lines of one kind in an output of JSON lines."""
    content = path.read_text() if path.exists() else ""
    rows = [json.loads(line) for line in content.splitlines(keepends=True) if line.endswith("\n")]
    return [row for row in rows if row["type"] == kind]


def last_state(folder: Path) -> dict[str, Any]:
    """Return the latest state that a receiver wrote; empty before the first."""
    states = json_lines(folder / "live.jsonl", "state")
    return states[-1] if states else {}


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def descendants(pid: int) -> list[int]:
    """Process ids of all that a process started, and that they did."""
    children = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            children.append(int(folder.name))
    return children + [grandchild for child in children for grandchild in descendants(child)]


def peak_mb(pid: int) -> float:
    """Most memory that a process has held so far, 10⁶ bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)

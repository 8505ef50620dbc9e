"""SIGKILL of a receiver at five moments, while one agent goes on; a sixth is in `watching`."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Final

from benchmarks.faults.agents import Pair
from benchmarks.faults.outcomes import Outcome, Place, checked
from benchmarks.faults.processes import Running, ended, last_state, wait_for
from cis490_pipeline.errors import CalibrationError
from cis490_pipeline.live.kept_calibration import FILE, kept_calibration

KILLED_AT_RENAME: Final = """
import os, pathlib, signal, sys
replace = pathlib.Path.replace
def dying(self, target):
    if pathlib.Path(target).name == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
pathlib.Path.replace = dying
from cis490_pipeline.cli import main
main(sys.argv[2:])
"""
"""A command that is killed after it has written a file and before it gives it its name."""
WANTED_NEW: Final = "nothing half stored; restart says that it learns, agent comes back"
WANTED_KEPT: Final = "restart goes on with what was learnt, agent comes back"
DOWN_S: Final = 14.0


def state_of(folder: Path) -> str:
    """Return what a restart finds: ``none``, ``whole`` or ``DAMAGED``."""
    try:
        return "none" if kept_calibration(folder) is None else "whole"
    except CalibrationError:
        return "DAMAGED"


@contextmanager
def deadly_dashboard() -> Iterator[tuple[str, list[int]]]:
    """Serve a dashboard that kills the processes of a list as soon as one publishes to it."""
    victims: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
            victims.clear()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/publish", victims
    finally:
        server.shutdown()
        server.server_close()


def live_killed(place: Place) -> Iterator[Outcome]:
    """Kill it at each moment, start it again, and wait for a window of the same agent's rows."""
    pair = Pair(place)
    state = pair.folder / "state"
    try:
        pair.start()
        time.sleep(0.4)
        yield _again(pair, "starting", down_s=0)
        pair.relearn()
        yield _again(pair, "learning", down_s=0)
        (state / FILE).unlink()
        pair.kill_receiver()
        _start_dying(pair, state)
        yield _again(pair, "while writing state", down_s=0)
        (state / FILE).unlink()
        pair.kill_receiver()
        pair.start()
        wait_for("what was learnt", (state / FILE).exists)
        yield _again(pair, "just after ready", down_s=DOWN_S)
        pair.kill_receiver()
        with deadly_dashboard() as (url, victims):
            pair.start_receiver("--publish-url", url)
            assert pair.receiver is not None
            victims.append(pair.receiver.pid)
            pair.receiver.process.wait(60)
            yield _again(pair, "while publishing", down_s=0)
    finally:
        with ended(*(one for one in (pair.agent, pair.receiver) if one is not None)):
            pass


def _start_dying(pair: Pair, state: Path) -> None:
    words = ["live", pair.to, "--bundle", pair.place.bundle, "--plain", "--state", state]
    words += ["--out", pair.folder / "live.jsonl"]
    command = [sys.executable, "-c", KILLED_AT_RENAME, FILE, *words]
    pair.receiver = Running(command, pair.folder, "live")
    pair.receiver.process.wait(90)


def _again(pair: Pair, moment: str, *, down_s: float) -> Outcome:
    assert pair.agent is not None
    pair.kill_receiver()
    before = state_of(pair.folder / "state")
    kept = (pair.folder / "state" / FILE).read_bytes() if before == "whole" else b""
    time.sleep(down_s)
    length_before = len((pair.folder / "live.err").read_text())
    pair.start()
    after_s = pair.wait_window()
    printed = (pair.folder / "live.err").read_text()[length_before:]
    goes_on = "calibrated as stored in" in printed
    status = last_state(pair.folder)["agent"]
    facts: dict[str, object] = {
        "state": before,
        "restart": "goes on with it" if goes_on else "learns, and says so",
        "a window": f"after {after_s:.0f} s",
        "rows dropped so far": status["rows_dropped"],
    }
    holds = [
        before != "DAMAGED",
        goes_on == (before == "whole"),
        goes_on or "calibrated by its first 15 s" in printed,
        not kept or (pair.folder / "state" / FILE).read_bytes() == kept,
        pair.agent.process.poll() is None,
        down_s < DOWN_S or status["rows_dropped"] > 0,
    ]
    wanted = WANTED_KEPT if before == "whole" else WANTED_NEW
    return checked("kill -9 live", moment, wanted, facts, holds)

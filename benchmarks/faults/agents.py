"""SIGKILL of an agent at six moments: its receiver goes on, and takes up the next one."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.faults.outcomes import Outcome, Place, checked
from benchmarks.faults.processes import (
    Running,
    agent,
    ended,
    json_lines,
    last_state,
    live,
    wait_for,
)

_BUCKET_NS: Final = 100_000_000
WANTED: Final = "receiver says it is silent, takes up the next agent; no row twice"


class Pair:
    """A receiver and an agent that sends to it, each of which may be down."""

    def __init__(self, place: Place) -> None:
        self.place, self.folder = place, place.folder
        self.receiver: Running | None = None
        self.agent: Running | None = None

    @property
    def to(self) -> str:
        """Where the agent sends to."""
        return f"unix:{self.folder / 'rows'}"

    def start(self) -> None:
        """Start what is down, the agent first: it waits for its receiver."""
        self.start_agent()
        self.start_receiver()

    def start_agent(self) -> None:
        """Start the agent if it is down."""
        if self.agent is None:
            self.agent = agent(self.folder, self.to)

    def start_receiver(self, *words: str | Path) -> None:
        """Start the receiver, with these words besides, if it is down."""
        if self.receiver is None:
            state = self.folder / "state"
            self.receiver = live(self.folder, self.to, self.place.bundle, "--state", state, *words)

    def relearn(self) -> None:
        """Forget what the receiver learnt, and wait until it is learning again."""
        self.kill_receiver()
        shutil.rmtree(self.folder / "state", ignore_errors=True)
        self.start()
        wait_for("learning", lambda: last_state(self.folder).get("stage") == "calibrating")
        time.sleep(4)

    def kill_agent(self) -> None:
        """Kill the agent if it runs."""
        if self.agent is not None:
            self.agent.kill()
        self.agent = None

    def kill_receiver(self) -> None:
        """Kill the receiver if it runs."""
        if self.receiver is not None:
            self.receiver.kill()
        self.receiver = None

    def windows(self) -> list[dict[str, Any]]:
        """Return the windows judged so far."""
        return json_lines(self.folder / "live.jsonl", "window")

    def is_served(self) -> bool:
        """Whether the receiver's latest state is of an agent whose guest rows arrive."""
        state = last_state(self.folder)
        return bool(state and state["agent"] and state["sources"]["guest"]["state"] == "alive")

    def wait_silent(self) -> float:
        """Wait until the receiver says that the guest rows stopped; return after how long, s."""
        began = time.monotonic()
        wait_for("silence is seen", lambda: _guest(self.folder) == "dead", 15)
        return time.monotonic() - began

    def wait_window(self, limit_s: float = 90.0) -> float:
        """Wait until another window is judged; return after how long, s."""
        began, before = time.monotonic(), len(self.windows())
        wait_for("a window", lambda: len(self.windows()) > before, limit_s)
        return time.monotonic() - began


def _guest(folder: Path) -> str:
    state = last_state(folder)
    return state["sources"]["guest"]["state"] if state else "none"


def _starting(pair: Pair) -> None:
    pair.kill_agent()
    pair.start_receiver()
    wait_for("the socket", (pair.folder / "rows").exists)
    pair.start_agent()
    time.sleep(0.1)
    pair.kill_agent()


def _learning(pair: Pair) -> None:
    pair.relearn()
    pair.kill_agent()
    pair.wait_silent()


def _in_a_bucket(pair: Pair) -> None:
    pair.wait_window()
    while not _BUCKET_NS // 3 < time.time_ns() % _BUCKET_NS < 2 * _BUCKET_NS // 3:
        time.sleep(0.005)
    pair.kill_agent()
    pair.wait_silent()


def _reconnecting(pair: Pair) -> None:
    pair.kill_receiver()
    time.sleep(0.3)
    pair.kill_agent()


def _queued(pair: Pair) -> None:
    pair.kill_receiver()
    time.sleep(4)
    pair.kill_agent()


def _alone(pair: Pair) -> None:
    pair.kill_receiver()
    time.sleep(12)
    pair.kill_agent()
    pair.start_agent()
    time.sleep(3)


MOMENTS: Final[dict[str, Callable[[Pair], None]]] = {
    "starting": _starting,
    "learning": _learning,
    "within a bucket": _in_a_bucket,
    "while it reconnects": _reconnecting,
    "with rows queued": _queued,
    "while live is down": _alone,
}


def agent_killed(place: Place) -> Iterator[Outcome]:
    """Kill it at each moment, start it again, and wait for a window of its rows."""
    pair = Pair(place)
    try:
        for moment, kill_then in MOMENTS.items():
            kill_then(pair)
            was_down = pair.receiver is None
            pair.start()
            wait_for("rows", pair.is_served)
            after_s = pair.wait_window()
            state = last_state(pair.folder)
            repeated = sum(source["repeated"] for source in state["sources"].values())
            order = [w["t_start_wall_ns"] for w in pair.windows()]
            facts: dict[str, object] = {
                "a window": f"{after_s:.0f} s after the restart",
                "rows twice": repeated,
                "windows twice": len(order) - len(set(order)),
                "receiver": "restarted too" if was_down else "went on",
            }
            holds = [repeated == 0, len(order) == len(set(order)), pair.is_served()]
            yield checked("kill -9 agent", moment, WANTED, facts, holds)
    finally:
        with ended(*(one for one in (pair.agent, pair.receiver) if one is not None)):
            pass

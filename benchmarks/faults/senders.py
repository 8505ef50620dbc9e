"""Senders that a receiver must refuse or survive: wrong tokens, second devices, and lies."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.faults.agents import Pair
from benchmarks.faults.outcomes import Outcome, Place, checked
from benchmarks.faults.processes import Running, agent, ended, last_state, live, peak_mb, wait_for

_PORT: Final = 17_490
MAX_MB: Final = 300
_GB: Final = 1 << 30
_DAY_NS: Final = 86_400 * 10**9


def wrong_token(place: Place) -> Iterator[Outcome]:
    """Send from two agents, of which one has another token than the receiver."""
    right, wrong = _token(place.folder / "right"), _token(place.folder / "wrong")
    to = f"tcp:127.0.0.1:{_PORT}"
    receiver = live(place.folder, to, place.bundle, "--token-file", right)
    good = agent(place.folder, to, "--token-file", str(right), device="good")
    bad = agent(place.folder, to, "--token-file", str(wrong), device="bad")
    with ended(receiver, good, bad):
        refused = wait_for("a refusal", lambda: _line(bad, "was refused"), 30)
        named = wait_for("a name", lambda: _line(receiver, "the token is not"), 30)
        wait_for("rows", lambda: _device(place.folder) == "good", 30)
        time.sleep(5)
        n_named = bad.text().count("was refused")
    facts: dict[str, object] = {
        "the agent says": f'"{refused.partition("490: ")[2]}"',
        "the receiver": f'"{named.partition(": ")[2]}"',
        "named by the agent": f"{n_named} time",
        "device judged": _device(place.folder),
    }
    wanted = "refused on both sides, once each by name; the other agent is judged"
    yield checked("wrong token", "connecting", wanted, facts, [n_named == 1])


def _token(path: Path) -> Path:
    path.write_text(os.urandom(32).hex())
    path.chmod(0o600)
    return path


def _line(running: Running, text: str) -> str:
    return next((line for line in running.text().splitlines() if text in line), "")


def _device(folder: Path) -> str:
    state = last_state(folder)
    return str(state["agent"]["device"]) if state and state["agent"] else ""


def two_devices(place: Place) -> Iterator[Outcome]:
    """Send from a second agent, with another name, to the feed of a first."""
    pair = Pair(place)
    pair.start()
    second: Running | None = None
    try:
        wait_for("rows", pair.is_served, 30)
        second = agent(place.folder, pair.to, device="second")
        refused = wait_for("a refusal", lambda: _line(second, "was refused"), 30)
        assert pair.receiver is not None
        named = wait_for("a name", lambda: _line(pair.receiver, "is refused"), 30)
        pair.wait_window()
        n_named = second.text().count("was refused")
        used, device = last_state(place.folder)["sources"]["guest"], _device(place.folder)
    finally:
        with ended(*(one for one in (pair.agent, pair.receiver, second) if one)):
            pass
    facts: dict[str, object] = {
        "the agent says": f'"{refused.partition("rows: ")[2]}"',
        "the receiver": f'"{named.partition(": ")[2]}"',
        "named by the agent": f"{n_named} time",
        "device judged": device,
    }
    holds = [n_named == 1, device == "here", used["set_aside"] == 0]
    wanted = "the second is refused by name on both sides; the first is judged"
    yield checked("two devices", "on one feed", wanted, facts, holds)


def _row(**changed: Any) -> bytes:
    row = {"source": "guest_agent", "t_wall_ns": time.time_ns(), "t_mono_ns": 1, "cpu_user": 5}
    return json.dumps({**row, **changed}).encode() + b"\n"


def _endless(connection: socket.socket) -> None:
    piece = b"x" * (1 << 20)
    for _ in range(_GB >> 20):
        connection.sendall(piece)
    connection.sendall(b"\n")


def _rows(*rows: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(b"".join(rows))


def _far(years: int) -> bytes:
    return _row(t_wall_ns=time.time_ns() + 365 * years * _DAY_NS)


LIES: Final[dict[str, tuple[Callable[[socket.socket], None], str]]] = {
    "binary": (
        lambda c: c.sendall(os.urandom(1 << 16).replace(b"\n", b"") + b"\n"),
        "not a JSON object",
    ),
    "a line of 1 GB": (_endless, "is longer than 1 MiB"),
    "wrong types": (_rows(_row(cpu_user="5"), _row(cpu_user=[1])), "must be an integer"),
    "no time": (_rows(_row(t_wall_ns=None)), "t_wall_ns"),
    "times of 1970": (_rows(*(_row(t_wall_ns=k) for k in range(5))), "set aside"),
    "times far ahead": (_rows(*(_far(50) for _ in range(5))), "set aside"),
    "unknown source": (_rows(_row(source="guest")), "must be one of"),
    "another device": (
        _rows(_row(source="agent_status", device="other"), _row()),
        "device other is refused",
    ),
    "100,000 lines": (_rows(b"{}\n" * 100_000), "so far"),
}


def lying_guest(place: Place) -> Iterator[Outcome]:
    """Send what is no row on a second connection, while an honest agent goes on."""
    pair = Pair(place)
    pair.start()
    wanted = f"one clear message; the honest agent is judged on, under {MAX_MB} MB"
    try:
        pair.wait_window()
        for moment, (send, message) in LIES.items():
            assert pair.receiver is not None
            n_before = len(_lines(pair, message))
            began = time.monotonic()
            _lie(pair.folder / "rows", send)
            try:
                wait_for(message, lambda n=n_before, m=message: len(_lines(pair, m)) > n, 30)
                line = _lines(pair, message)[-1]
            except TimeoutError:
                line = "nothing"
            pair.wait_window()
            facts: dict[str, object] = {
                "printed": f'"{line[:150]}"',
                "after": f"{time.monotonic() - began:.0f} s a window",
                "peak": f"{(peak := peak_mb(pair.receiver.pid)):.0f} MB",
            }
            holds = [line != "nothing", peak < MAX_MB, pair.is_served()]
            yield checked("a guest that lies", moment, wanted, facts, holds)
    finally:
        with ended(*(one for one in (pair.agent, pair.receiver) if one)):
            pass


def _lie(path: Path, send: Callable[[socket.socket], None]) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        try:
            send(connection)
        except BrokenPipeError:
            # Refused within what it sent.
            return


def _lines(pair: Pair, text: str) -> list[str]:
    """Return what the receiver printed so far that holds a text."""
    assert pair.receiver is not None
    return [line for line in pair.receiver.text().splitlines() if text in line]

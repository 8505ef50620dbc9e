"""SIGKILL of a recorder and of QEMU at six moments each, and a disk that fills up under a store."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.faults.disks import fill, make_room, small_disk
from benchmarks.faults.outcomes import Outcome, Place, checked
from benchmarks.faults.processes import (
    Running,
    descendants,
    ended,
    is_running,
    stop,
    wait_for,
)
from cis490_pipeline.domain import EpisodeRef
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.verdicts.validate import validate_episode

SETTLE_S: Final = 4.0
LEAD_S: Final = 6.0
PLAN: Final = """
format = 1
episodes = {episodes}
seed = 7
clean_only_share = 0.0
[timing]
settle_s = [4, 4]
lead_s = 6
lead_mean_s = 0
lead_cap_s = 6
chain_s = [9, 9]
phase_s = [9, 9]
[[host]]
name = "{host}"
ram_mib = 128
disk_mib = 64
[[profile]]
profile = "cpu-saturate"
name = "kiln"
family = "burner"
category = "miner"
parameters = [{{processes = 1}}]
"""
KILLED_IN_COMMIT: Final = """
import os, signal, sys
from cis490_pipeline.store import writing
writing.index_archive = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
from cis490_pipeline.cli import main
main(sys.argv[1:])
"""
"""A recorder that is killed once an archive has its name and before its row is written."""
_COMMAND: Final = "from cis490_pipeline.cli import main; import sys; main(sys.argv[1:])"


class Recording:
    """Recording of a small plan into one store, by one call after another."""

    def __init__(self, place: Place, episodes: int, host: str = "lab-small") -> None:
        assert place.image is not None
        self.folder, self.image = place.folder, place.image
        self.store = place.folder / "store"
        self.plan = place.folder / "plan.toml"
        self.plan.write_text(PLAN.format(episodes=episodes, host=host))

    def start(self, code: str = _COMMAND) -> Running:
        """Start a call that records what the store lacks."""
        words = ["record", self.plan, "--store", self.store, "--image", self.image, "--resume"]
        return Running([sys.executable, "-c", code, *words], self.folder, "record")

    def finish(self) -> int:
        """Record what is lacking; return the exit code."""
        running = self.start()
        with ended(running):
            return running.process.wait(300)

    def printed(self) -> str:
        """Return what all calls printed as messages."""
        return (self.folder / "record.err").read_text("utf-8", "replace")

    def n_rows(self) -> int:
        """Return the number of indexed episodes."""
        return len(LocalStore(self.store).read_index().rows)

    def verdicts(self) -> dict[EpisodeRef, str]:
        """Return the verdict on each indexed episode."""
        store = LocalStore(self.store)
        rows = store.read_index().rows
        return {ref: str(validate_episode(store, ref, row)["status"]) for ref, row in rows.items()}

    def is_sound(self) -> bool:
        """Whether every row of the index has its archive, whole."""
        return all(status in ("accepted", "rejected") for status in self.verdicts().values())


def machine_of(running: Running) -> int | None:
    """Process id of the recorder's QEMU, if it runs."""
    for pid in descendants(running.pid):
        try:
            if "qemu" in Path(f"/proc/{pid}/comm").read_text():
                return pid
        except OSError:
            continue
    return None


def lane_of(running: Running) -> int | None:
    """Process id of the recorder's lane: its one child."""
    for pid in descendants(running.pid):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"recording.lane" in command:
            return pid
    return None


def is_ready(running: Running) -> bool:
    """Whether the guest is up: its recorder has connected to QEMU's machine protocol."""
    lane = lane_of(running)
    if lane is None:
        return False
    try:
        sockets = Path(f"/proc/{lane}/net/unix").read_text()
    except OSError:
        return False
    # State 03: an accepted connection of the socket that is bound to this name.
    return re.search(r" 0001 03 +\d+ qmp$", sockets, re.MULTILINE) is not None


def _booting(running: Running) -> None:
    wait_for("QEMU", lambda: machine_of(running), 60)
    time.sleep(3)


def _settling(running: Running) -> None:
    wait_for("the guest", lambda: is_ready(running), 120)
    time.sleep(2)


def _clean(running: Running) -> None:
    _settling(running)
    time.sleep(SETTLE_S + LEAD_S / 2)


def _infected(running: Running) -> None:
    _settling(running)
    time.sleep(SETTLE_S + LEAD_S + 2)


def _packing(running: Running) -> None:
    wait_for("QEMU", lambda: machine_of(running), 60)
    wait_for("its end", lambda: machine_of(running) is None, 180)


def recorder_killed(place: Place) -> Iterator[Outcome]:
    """Kill it at each moment, look at store and processes, and go on with ``--resume``."""
    recording = Recording(place, episodes=3)
    moments: dict[str, tuple[Callable[[Running], None], str]] = {
        "booting": (_booting, _COMMAND),
        "settling": (_settling, _COMMAND),
        "running": (_infected, _COMMAND),
        "packing": (_packing, _COMMAND),
        "committing": (_own_end, KILLED_IN_COMMIT),
        "between episodes": (lambda running: _next_row(recording, running), _COMMAND),
    }
    for moment, (until, code) in moments.items():
        running = recording.start(code)
        with ended(running):
            seen: set[int] = set()
            _watched(running, until, seen)
            seen |= {*descendants(running.pid)}
            running.kill()
        yield _after(recording, moment, seen)
    code = recording.finish()
    verdicts = sorted(recording.verdicts().values())
    facts: dict[str, object] = {
        "exit code": code,
        "episodes": len(verdicts),
        "verdicts": ", ".join(verdicts),
        "unindexed": len([*LocalStore(recording.store).listed()]) - len(verdicts),
    }
    wanted = "--resume records what is lacking; validate accepts all 3"
    holds = [code == 0, verdicts == ["accepted"] * 3]
    yield checked("kill -9 recorder", "then --resume", wanted, facts, holds)


def _watched(running: Running, until: Callable[[Running], None], seen: set[int]) -> None:
    """Wait for a moment; keep the ids of all processes that were there shortly before."""
    wait_for("a lane", lambda: lane_of(running), 60)
    seen |= {*descendants(running.pid)}
    until(running)


def _own_end(running: Running) -> None:
    running.process.wait(240)


def _next_row(recording: Recording, running: Running) -> None:
    before = recording.n_rows()
    wait_for("a row", lambda: recording.n_rows() > before, 240)


def _after(recording: Recording, moment: str, seen: set[int]) -> Outcome:
    try:
        wait_for("all processes end", lambda: not any(map(is_running, seen)), 5)
        left = 0
    except TimeoutError:
        left = sum(map(is_running, seen))
    facts: dict[str, object] = {
        "processes left": left,
        "rows": recording.n_rows(),
        "archives": len([*LocalStore(recording.store).listed()]),
    }
    wanted = "no QEMU, sink or lane is left; no indexed half"
    holds = [not left, recording.is_sound()]
    return checked("kill -9 recorder", moment, wanted, facts, holds)


def qemu_killed(place: Place) -> Iterator[Outcome]:
    """Kill QEMU at each moment; the run fails, and ``--resume`` records it again."""
    recording = Recording(place, episodes=1)
    moments: dict[str, Callable[[Running], None]] = {
        "at its start": lambda running: None,
        "booting": _booting,
        "settling": _settling,
        "clean": _clean,
        "infected": _infected,
        "in the last second": lambda running: (_infected(running), time.sleep(5.5))[0],
    }
    for moment, until in moments.items():
        running = recording.start()
        with ended(running):
            machine = wait_for("QEMU", lambda running=running: machine_of(running), 60)
            until(running)
            seen = {*descendants(running.pid)}
            stop(machine)
            code = running.process.wait(120)
        last = [line for line in recording.printed().splitlines() if line.startswith("run 0 ")]
        left = sum(map(is_running, seen))
        facts: dict[str, object] = {
            "exit code": code,
            "printed": f'"{last[-1][:110] if last else ""}"',
            "processes left": left,
            "rows": recording.n_rows(),
        }
        holds = [code == 1, bool(last), not left, "accepted" not in recording.verdicts().values()]
        wanted = "the run fails by name; after its first label it is kept as failed"
        yield checked("kill -9 QEMU", moment, wanted, facts, holds)
    code = recording.finish()
    verdicts = sorted(recording.verdicts().values())
    wanted = "--resume records the run; failed ones are rejected"
    facts = {"exit code": code, "verdicts": ", ".join(verdicts)}
    holds = [code == 0, verdicts.count("accepted") == 1]
    yield checked("kill -9 QEMU", "then --resume", wanted, facts, holds)


def store_full(place: Place) -> Iterator[Outcome]:
    """Fill a store's disk before a run, and within one."""
    recording = Recording(place, episodes=1)
    with small_disk(recording.store, 200 << 20) as disk:
        fill(disk)
        code = recording.finish()
        line = recording.printed().splitlines()[-1]
        yield _full("before a run", code, line, recording)
        make_room(disk)
        running = recording.start()
        with ended(running):
            _clean(running)
            fill(disk)
            code = running.process.wait(120)
        line = recording.printed().splitlines()[-1]
        yield _full("in a run", code, line, recording)
        make_room(disk)
        code = recording.finish()
        verdicts = [*recording.verdicts().values()]
        facts: dict[str, object] = {"exit code": code, "verdicts": ", ".join(verdicts)}
        holds = [code == 0, verdicts.count("accepted") == 1]
        wanted = "--resume records the run"
        yield checked("disk full", "store, then --resume", wanted, facts, holds)


def _full(moment: str, code: int, line: str, recording: Recording) -> Outcome:
    facts: dict[str, object] = {"exit code": code, "printed": f'"{line[:170]}"'}
    holds = [code == 2, "No space left on device" in line, recording.is_sound()]
    wanted = "one message with its remedy; no indexed half"
    return checked("disk full", f"store, {moment}", wanted, facts, holds)


def members(recording: Recording) -> Sequence[tuple[str, dict[str, bytes]]]:
    """Return verdict and members of each indexed episode."""
    from cis490_pipeline.store.archive.unpack import read_members

    store = LocalStore(recording.store)
    return [
        (status, read_members(store.archive_path(ref)))
        for ref, status in recording.verdicts().items()
    ]


def meta_of(content: dict[str, bytes]) -> dict[str, object]:
    meta: dict[str, object] = json.loads(content["meta.json"])
    return meta

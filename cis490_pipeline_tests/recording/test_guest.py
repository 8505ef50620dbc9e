import ipaddress
import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import time
import tty
from pathlib import Path

import pytest

from cis490_pipeline.recording import guest
from cis490_pipeline.recording.guest import benign, mimics
from cis490_pipeline.recording.guest.mimics import address
from cis490_pipeline.recording.plan import LOOKALIKES

GUEST = Path(guest.__file__).parent
BENCHMARKING = ipaddress.ip_network("198.18.0.0/15")


class RunnerProcess:
    """A load runner on a terminal, which like a virtio port is one file of two directions."""

    def __init__(self, scratch):
        self.side, self.other = pty.openpty()
        tty.setraw(self.other)
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "cis490_pipeline.recording.guest.runner",
                os.ttyname(self.other),
            ],
            stderr=subprocess.DEVNULL,
            env={**os.environ, "SCRATCH": str(scratch)},
        )
        self.pending = b""

    def read(self):
        while b"\n" not in self.pending:
            self.pending += os.read(self.side, 4096)
        line, _, self.pending = self.pending.partition(b"\n")
        return json.loads(line)

    def ask(self, **request):
        os.write(self.side, json.dumps({"id": 1, **request}).encode() + b"\n")
        return self.read()

    def start(self, activity, parameters, slot="workload"):
        return self.ask(do="start", slot=slot, activity=activity, parameters=parameters)


@pytest.fixture
def runner(tmp_path):
    started = RunnerProcess(tmp_path)
    try:
        assert started.read()["event"] == "ready"
        yield started
        # Activities have sessions of their own and would outlive the runner.
        started.ask(do="stop", slot="workload")
    finally:
        started.process.kill()
        started.process.wait()
        os.close(started.side)
        os.close(started.other)


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


SPIN = {"processes": 1, "share": 0.2, "seed": 1}


def test_an_activity_reports_its_own_first_moment(runner):
    before_ns = time.monotonic_ns()
    answer = runner.start("cpu-saturate", SPIN)

    assert before_ns <= answer["t_guest_mono_ns"] <= time.monotonic_ns()
    assert answer["stopped"] is False
    assert is_running(answer["pid"])


def test_a_slot_holds_one_activity_and_stopping_ends_its_children_too(runner):
    first = runner.start("cpu-saturate", {**SPIN, "processes": 3})
    second = runner.start("cpu-saturate", SPIN)
    stopped = runner.ask(do="stop", slot="workload")

    assert second["stopped"] is True
    assert not is_running(first["pid"])
    assert stopped["pid"] == second["pid"]
    assert not is_running(second["pid"])
    # The children were killed with it; a busy machine takes a moment to end them.
    until_s = time.monotonic() + 10
    while str(first["pid"]) in living_groups():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def living_groups():
    listed = subprocess.run(
        ["ps", "-o", "pgid=,stat=", "-A"], capture_output=True, text=True, check=True
    ).stdout
    return {group for group, state in map(str.split, listed.splitlines()) if state[0] != "Z"}


def test_dropped_files_go_with_the_mimic_and_not_with_a_look_alike(runner, tmp_path):
    runner.start("armed", {"payload_kib": 1, "seed": 1})
    runner.start("cpu-saturate", SPIN, slot="background-compile")
    until_s = time.monotonic() + 10
    while not (tmp_path / "payload").exists():
        assert time.monotonic() < until_s
    runner.ask(do="stop", slot="background-compile")
    kept = (tmp_path / "payload").exists()
    runner.ask(do="stop", slot="workload")

    assert kept
    assert not (tmp_path / "payload").exists()


@pytest.mark.parametrize(
    ("activity", "parameters"),
    [
        ("armed", {"payload_kib": 10}),
        ("io-walk", {"files": 3, "file_kib": 4, "files_per_s": 100.0}),
        ("backup", LOOKALIKES["backup"]),
        ("database", LOOKALIKES["database"]),
        ("log-rotation", LOOKALIKES["log-rotation"]),
        ("compile", LOOKALIKES["compile"]),
    ],
)
def test_activities_without_a_network_begin_and_run_on(runner, activity, parameters):
    answer = runner.start(activity, {**parameters, "seed": 3})
    time.sleep(0.5)

    assert "error" not in answer
    assert is_running(answer["pid"])


ORDER = """
import os
from cis490_pipeline.recording.guest import runner
order, line, kill = [], runner._line, runner._kill
runner._line = lambda reading: [order.append("waited"), line(reading)][1]
runner._kill = lambda pid: [order.append("killed"), kill(pid)][1]
made = runner.Runner(os.open(os.devnull, os.O_WRONLY))
request = {"do": "start", "slot": "workload", "activity": "dormant", "parameters": {"beacon_s": 9}}
made.answer(request)
order.clear()
made.answer(request)
print(*order)
made.answer({"do": "stop", "slot": "workload"})
"""


def test_the_next_load_waits_ready_when_the_last_is_ended():
    done = subprocess.run(
        [sys.executable, "-c", ORDER], stdout=subprocess.PIPE, text=True, check=True
    )

    # Made and ready; then the old one killed; then its first action.
    assert done.stdout.split() == ["waited", "killed", "waited"]


def test_a_load_that_dies_before_it_begins_leaves_the_slot_empty_and_is_named(runner):
    runner.start("cpu-saturate", SPIN)

    failed = runner.start("cpu-saturate", {})

    assert "did not begin" in failed["error"]
    assert "pid" not in runner.ask(do="stop", slot="workload")


def test_a_reset_ends_every_slot_and_removes_what_mimics_left(runner, tmp_path):
    walk = runner.start("io-walk", {"files": 3, "file_kib": 1, "files_per_s": 100.0, "seed": 1})
    service = runner.start("compile", {"jobs": 1, "seed": 1}, slot="service-compile")
    until_s = time.monotonic() + 10
    while not (tmp_path / "documents" / "2.doc").exists():
        assert time.monotonic() < until_s
    answer = runner.ask(do="reset")

    assert "error" not in answer
    assert not is_running(walk["pid"])
    assert not is_running(service["pid"])
    assert not (tmp_path / "documents").exists()
    assert "pid" not in runner.ask(do="stop", slot="workload")


def test_each_job_of_a_build_has_a_length_of_its_own(monkeypatch):
    lengths, rounds = [], iter(range(6))

    class EnoughError(Exception):
        pass

    def fork():
        if next(rounds, None) is None:
            raise EnoughError
        return 1

    rng = random.Random(4)
    drawn = rng.uniform
    monkeypatch.setattr(rng, "uniform", lambda *bounds: lengths.append(drawn(*bounds)))
    monkeypatch.setattr(benign.os, "fork", fork)
    monkeypatch.setattr(benign.os, "waitpid", lambda pid, options: (pid, 0))

    with pytest.raises(EnoughError):
        benign.compile_({"jobs": 2}, lambda: None, rng)

    # Drawn by the parent: six children that drew for themselves would draw one length.
    assert len(set(lengths)) == len(lengths) == 7


def test_stopping_nothing_says_when(runner):
    answer = runner.ask(do="stop", slot="workload")

    assert "error" not in answer
    assert answer["t_guest_mono_ns"] > 0


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"do": "start", "slot": "w", "activity": "no such", "parameters": {}}, "KeyError"),
        ({"do": "start", "slot": "w", "activity": "flood", "parameters": {}}, "did not begin"),
        ({"do": "reboot"}, "unknown request 'reboot'"),
    ],
)
def test_a_request_that_cannot_be_done_is_answered_by_an_error(runner, request_, message):
    assert message in runner.ask(**request_)["error"]
    assert "t_guest_wall_ns" in runner.ask(do="clock")


def test_an_activity_that_ends_by_itself_is_reported(runner):
    answer = runner.start("cpu-saturate", SPIN)
    os.kill(answer["pid"], signal.SIGKILL)
    event = runner.read()

    assert event["event"] == "ended"
    assert event["activity"] == "cpu-saturate"
    assert event["status"] == signal.SIGKILL


def test_every_drawn_address_is_in_the_benchmarking_range():
    rng = random.Random(1)
    drawn = {address(rng, silent=silent) for silent in (True, False) for _ in range(500)}

    assert all(ipaddress.ip_address(text) in BENCHMARKING for text in drawn)


def test_guest_programs_name_no_other_address_and_no_host():
    for path in GUEST.glob("*.py"):
        text = path.read_text()
        for found in re.findall(r"\d+\.\d+\.\d+\.\d+", text):
            if found != "198.18.0.0":
                assert ipaddress.ip_address(found) in BENCHMARKING, path.name
        assert "getaddrinfo" not in text
        assert "http://" not in text


def test_mimics_touch_files_of_their_scratch_folder_only():
    text = Path(mimics.__file__).read_text()

    assert {*re.findall(r"\b([A-Za-z]\w*) / ", text)} <= {"SCRATCH", "folder"}
    assert "folder = SCRATCH" in text

import json
import re
import signal
import subprocess
import sys
import time

import pytest

from cis490_pipeline.cli.devices.watch import _duration_s
from cis490_pipeline_tests.cli.runs import Cli


@pytest.fixture(scope="module")
def bundle(finished, tmp_path_factory):
    from cis490_pipeline.live.bundle import write_bundle

    folder = tmp_path_factory.mktemp("watch") / "bundle"
    paths = finished.paths
    write_bundle(folder, [paths.checkpoint("host", "gbt_realistic")])
    return folder


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("2min", 120), ("1.5 h", 5400), ("90m", 5400)]
)
def test_learning_times_are_read_with_their_unit(text, seconds):
    assert _duration_s(None, None, text) == seconds


@pytest.mark.parametrize("text", ["59s", "0.5min", "1 day", "60", "-2min", "h"])
def test_a_learning_time_under_a_minute_or_without_unit_is_refused(plain: Cli, tmp_path, text):
    done = plain("watch", "--bundle", str(tmp_path), "--learn", text)

    assert done.code == 2
    assert "60s or more" in done.err or "wanted one like 90s, 2min or 1h" in done.err


def test_a_device_needs_a_name_and_relearning_a_state(plain: Cli, bundle):
    named = plain("watch", "--bundle", str(bundle), "--device", "a b")
    forgot = plain("watch", "--bundle", str(bundle), "--relearn")

    assert (named.code, forgot.code) == (2, 2)
    assert "give it one with --device" in named.err
    assert "give --state too" in forgot.err


def test_the_unit_runs_the_same_command_with_one_capability(plain: Cli, tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["cis490", "watch", "--bundle", "/opt/b c", "--unit", "--learn", "1h"]
    )
    done = plain("watch", "--bundle", "/opt/b c", "--unit", "--learn", "1h")

    start = re.search(r"^ExecStart=(.*)$", done.out, re.MULTILINE)[1]
    assert start.endswith("-m cis490_pipeline watch --bundle '/opt/b c' --learn 1h")
    assert "AmbientCapabilities=CAP_NET_RAW\n" in done.out
    assert "--unit" not in start


@pytest.mark.long
def test_watch_learns_keeps_its_state_and_ends_in_order(bundle, tmp_path):
    """The agent of this machine and the models, for as long as the shortest learning takes."""
    state, out = tmp_path / "state", tmp_path / "out.jsonl"
    words = [sys.executable, "-m", "cis490_pipeline", "watch", "--bundle", str(bundle)]
    words += ["--learn", "60s", "--state", str(state), "--out", str(out), "--device", "here"]
    words += ["--no-netflow"]

    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watching:
        until = time.monotonic() + 150
        while time.monotonic() < until and not (state / "alarms.json").exists():
            time.sleep(0.5)
        watching.send_signal(signal.SIGTERM)
        said, errors = (stream.decode() for stream in watching.communicate(timeout=30))

    assert watching.returncode == 0, errors
    lines = said.splitlines()
    assert lines[0].startswith("learning what is usual here: ")
    assert lines[0].endswith(" s of 1 min; an hour is better")
    assert any("without network" in line for line in lines), said
    assert "gbt_realistic decides; 1 models in all" in errors
    kept = json.loads((state / "calibration.json").read_text())
    known = {c["name"] for c in kept["channels"] if c["median"] is not None}
    assert known
    assert all(name.startswith("guest.") for name in known)
    states = [json.loads(line) for line in out.read_text().splitlines()]
    agents = [s["agent"] for s in states if s["type"] == "state" and s["agent"]]
    assert agents[-1]["device"] == "here"
    assert not _runs("--device here")


def _runs(text):
    """Whether a process of ours with these arguments still runs."""
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return any("cis490_pipeline.collect" in line and text in line for line in found.splitlines())

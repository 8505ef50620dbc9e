"""Faults that need no virtual machine, made for real."""

import subprocess
import sys

import pytest

from benchmarks.faults.__main__ import DEVICES
from benchmarks.faults.outcomes import Outcome, Place, checked, lines_of
from cis490_pipeline.live.bundle import write_bundle

NAMES = ["agent", "live", "token", "devices", "lies"]


@pytest.fixture(scope="module")
def bundle(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults") / "bundle"
    write_bundle(folder, [finished.paths.checkpoint("host", "gbt_realistic")])
    return folder


def test_an_outcome_is_right_if_all_that_it_holds_is():
    facts = {"rows": 3, "rows twice": 1}

    assert checked("kill", "starting", "none twice", facts, [True, False]) == Outcome(
        "kill", "starting", "none twice", "rows 3, rows twice 1", ok=False
    )


def test_a_long_outcome_is_wrapped_within_its_column():
    lines = lines_of(Outcome("kill", "starting", "a " * 60, "b " * 60, ok=True)).splitlines()

    assert lines[0].endswith("  yes")
    assert [line.find("b") for line in lines[:2]] == [lines[0].find("b")] * 2
    assert max(map(len, lines)) < 170


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_every_outcome_is_as_wanted(name, bundle, tmp_path):
    outcomes = [*DEVICES[name](Place(tmp_path, bundle))]

    assert outcomes
    assert [lines_of(outcome) for outcome in outcomes if not outcome.ok] == []


@pytest.mark.long
def test_a_full_disk_ends_nothing(bundle):
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs a mount namespace: allow user namespaces")
    words = ["-m", "benchmarks.faults", "--bundle", str(bundle), "--only", "disk"]
    done = subprocess.run(
        ["unshare", "-Urm", sys.executable, *words], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr

"""What `doctor` says of agent, watch and clock, with answers that a machine may give."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cis490_pipeline.cli.data.store_lines import Line
from cis490_pipeline.cli.operate.device_lines import agent_line, clock_line, watch_line
from cis490_pipeline.collect.interfaces import NoCapture
from cis490_pipeline.live.bundle import write_bundle
from cis490_pipeline_tests.cli.runs import Cli

NO_CAPABILITY = NoCapture("no CAP_NET_RAW", "run setcap")
NO_INTERFACE = NoCapture("no network interface given or found", "name one: lo")


class Machine:
    """Opens captures as a machine with or without the capability would."""

    def __init__(self, *, may_capture: bool) -> None:
        self.may_capture = may_capture
        self.n_open = 0

    def open(self, names: Sequence[str]) -> Any:
        if not names:
            raise NO_INTERFACE
        if not self.may_capture:
            raise NO_CAPABILITY
        self.n_open += 1
        return SimpleNamespace(means="a ring, in arrays", close=self.close)

    def close(self) -> None:
        self.n_open -= 1


def test_an_agent_that_may_capture_is_good_and_its_interfaces_are_named() -> None:
    machine = Machine(may_capture=True)

    assert agent_line(["eth0", "wlan0"], machine.open) == Line(
        True, "agent", "guest rows, and netflow of eth0, wlan0 by a ring, in arrays"
    )
    assert machine.n_open == 0


def test_without_the_capability_guest_rows_go_on_and_the_remedy_is_the_agents() -> None:
    line = agent_line(["eth0"], Machine(may_capture=False).open)

    assert (line.ok, line.warn, line.advice) == (True, True, NO_CAPABILITY.remedy)
    assert line.found == "no netflow: no CAP_NET_RAW; guest rows go on; it would count eth0"


@pytest.mark.parametrize(
    ("may_capture", "lacks"),
    [(True, [NO_INTERFACE]), (False, [NO_INTERFACE, NO_CAPABILITY])],
)
def test_without_an_interface_all_that_is_missing_is_named(
    may_capture: bool, lacks: list[NoCapture]
) -> None:
    machine = Machine(may_capture=may_capture)
    line = agent_line([], machine.open)

    assert (line.ok, line.warn, machine.n_open) == (True, True, 0)
    assert line.advice == "; ".join(lack.remedy for lack in lacks)
    assert all(lack.reason in line.found for lack in lacks)
    assert line.found.endswith("; guest rows go on")


def test_a_clock_that_nobody_sets_is_a_warning() -> None:
    assert clock_line(lambda: True) == Line(True, "clock", "synchronised")

    line = clock_line(lambda: False)

    assert (line.ok, line.warn, line.advice) == (True, True, "timedatectl set-ntp true")


def test_watch_without_its_libraries_names_the_extra(tmp_path: Path) -> None:
    line = watch_line(tmp_path, is_usual=False, missing=["onnxruntime"])

    assert (line.ok, line.warn, line.found) == (True, True, "missing onnxruntime")
    assert "[live]" in line.advice


def test_no_bundle_is_a_finding_only_where_one_was_named(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    usual = watch_line(folder, is_usual=True, missing=[])
    named = watch_line(folder, is_usual=False, missing=[])

    assert (usual.ok, usual.warn, usual.found) == (True, True, f"no bundle at {folder}")
    assert (named.ok, str(folder) in named.found) == (False, True)
    assert f"cis490 bundle {folder}" in usual.advice
    assert f"cis490 bundle {folder}" in named.advice


def test_doctor_opens_the_bundle_as_watch_does(cli: Cli, finished: Any, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    write_bundle(folder, [finished.paths.checkpoint("host", "gbt_realistic")])
    sound = {line["what"]: line for line in cli("doctor", "--json", "--bundle", str(folder)).json}
    next(folder.rglob("model.onnx")).write_bytes(b"damaged")
    damaged = cli("doctor", "--bundle", str(folder))

    assert sound["watch"]["found"] == f"{folder}: gbt_realistic decides, of 1 in all"
    assert damaged.code == 1
    assert f"LOOK watch: {folder}" in damaged.out


def test_a_warning_shows_its_remedy_and_is_no_finding(cli: Cli) -> None:
    done = cli("doctor")

    assert done.code == 0
    assert "\nwarn watch: no bundle at " in done.out
    assert "-> train with cis490 run, then: cis490 bundle " in done.out

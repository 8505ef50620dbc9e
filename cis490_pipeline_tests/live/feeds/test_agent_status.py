"""Status rows are untrusted input, and belong into no store."""

import json

import pytest

from cis490_pipeline.domain import Source
from cis490_pipeline.live.feeds.agent_status import AgentStatus
from cis490_pipeline.live.feeds.device import DeviceGate
from cis490_pipeline.live.feeds.rows import read_line
from cis490_pipeline.store.rows.read import read_rows
from cis490_pipeline.store.rows.row import RowFault

ROW = {
    "t_wall_ns": 1795339159705884928,
    "t_mono_ns": 5,
    "source": "agent_status",
    "available_in_deployment": True,
    "device": "garage-pi",
    "version": "0.1.0",
    "boot_id": "94cb71f3",
    "seq": 3,
    "rows": 300,
    "rows_dropped": 0,
    "ticks_missed": 0,
    "packets": 9,
    "packets_dropped": 0,
    "lateness_p99_ms": 1,
    "cpu_percent": 0.2,
    "rss_bytes": 14000000,
    "clock_steps": 0,
    "clock_step_ns": 0,
    "fields_lost": [],
    "netflow": "on",
    "of_a_later_version": {"x": 1},
}


def read(**changed: object) -> AgentStatus | RowFault:
    read_as = read_line(json.dumps({**ROW, **changed}).encode(), place="stdin", number=4)
    assert isinstance(read_as, AgentStatus | RowFault)
    return read_as


def status(**changed: object) -> AgentStatus:
    made = read(**changed)
    assert isinstance(made, AgentStatus)
    return made


def test_a_status_is_read_and_unknown_keys_are_ignored() -> None:
    made = status()

    assert (made.device, made.rows, made.lateness_p99_ms) == ("garage-pi", 300, 1)
    assert str(made) == "agent garage-pi"
    assert "of_a_later_version" not in made.to_dict()


def test_what_is_missing_on_a_device_is_named() -> None:
    made = status(
        netflow="no CAP_NET_RAW",
        fields_lost=["tcp_total"],
        rows_dropped=7,
        packets_dropped=8,
        clock_steps=2,
    )

    assert str(made) == (
        "agent garage-pi (no netflow: no CAP_NET_RAW; without tcp_total; 7 rows dropped; "
        "8 packets dropped; its clock stepped 2 times)"
    )


def test_only_what_changes_seldom_triggers_an_event() -> None:
    assert status().gist() == status(seq=9, rows=999, cpu_percent=3, rss_bytes=5).gist()
    assert status().gist() != status(boot_id="other").gist()
    assert status().gist() != status(rows_dropped=1).gist()


@pytest.mark.parametrize(
    "changed",
    [
        {"device": "../x"},
        {"device": None},
        {"device": "a\n"},
        {"version": "\x1b[2J"},
        {"netflow": "x" * 400},
        {"fields_lost": ["x"] * 100},
        {"fields_lost": "cpu_user"},
        {"rows": -1},
        {"rows": "7"},
        {"rows": 2**64},
        {"cpu_percent": -1},
        {"t_wall_ns": None},
    ],
)
def test_a_status_that_is_none_is_a_fault_of_its_line(changed: dict[str, object]) -> None:
    fault = read(**changed)

    assert isinstance(fault, RowFault)
    assert (fault.member, fault.line, fault.field) == ("stdin", 4, "agent_status")


def test_a_store_that_holds_a_status_is_told_to_leave_it_out() -> None:
    line = json.dumps(ROW).encode() + b"\n"

    faults = read_rows(Source.GUEST, line).faults

    assert [(fault.line, fault.field) for fault in faults] == [(1, "source")]
    assert "is an agent's own state, which belongs into no store" in str(faults[0])


def test_a_second_device_is_refused_by_name_and_the_first_is_not() -> None:
    gate = DeviceGate()

    assert gate.refusal(status()) is None
    refused = gate.refusal(status(device="attic-pi"))
    assert refused is not None
    assert "device attic-pi is refused: this feed is of device garage-pi" in refused
    assert gate.refusal(status()) is None


def test_a_device_may_boot_again_but_two_by_one_name_are_found_out() -> None:
    gate = DeviceGate()
    for boot in ("a", "b", "c", None, "c"):
        assert gate.refusal(status(boot_id=boot)) is None

    refused = gate.refusal(status(boot_id="b"))

    assert refused is not None
    assert "a second device by the name of garage-pi is refused" in refused

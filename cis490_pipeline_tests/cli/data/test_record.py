import re

import pytest

from cis490_pipeline.recording import requirements
from cis490_pipeline_tests.cli.runs import Cli
from cis490_pipeline_tests.recording.plans import plan_fields, write_plan


@pytest.fixture
def cli(capsys):
    return Cli(capsys)


@pytest.fixture
def plan(tmp_path):
    return write_plan(tmp_path / "plan.toml", plan_fields(episodes=12))


def test_a_dry_run_prints_the_schedule_and_writes_nothing(cli, plan, tmp_path):
    done = cli("record", str(plan), "--store", str(tmp_path / "store"), "--dry-run", "--json")
    again = cli("record", str(plan), "--store", str(tmp_path / "store"), "--dry-run")

    assert done.code == again.code == 0
    assert [row["number"] for row in done.json] == [*range(12)]
    assert sum(row["sample"] is None for row in done.json) == 2
    assert all(row["phases"].startswith("clean") for row in done.json)
    assert "12 runs" in again.out
    assert not (tmp_path / "store").exists()


def test_a_dry_run_says_what_each_block_takes_and_what_this_machine_lacks(
    cli, tmp_path, monkeypatch
):
    monkeypatch.setattr(requirements, "_netem_refused", lambda path: "kind is unknown")
    host = [{"name": "near"}, {"name": "far", "link": {"delay_ms": 40}, "clean_runs_s": [1800]}]
    fields = plan_fields(episodes=12, blocks=2, host=host)
    path = write_plan(tmp_path / "plan.toml", fields)
    done = cli("record", str(path), "--store", str(tmp_path / "store"), "--dry-run", "--lanes", "2")

    assert done.code == 1
    assert (
        "this machine lacks the kernel module sch_netem (kind is unknown) for host far" in done.err
    )
    assert "modprobe sch_netem" in done.err
    assert re.search(r"block 1: \d+ runs, 2 hosts, about \d+ minutes in 2 lanes\n", done.out)
    assert "sham-armed" in done.out


def test_a_block_of_over_an_hour_is_named(cli, tmp_path):
    path = write_plan(tmp_path / "plan.toml", plan_fields(episodes=120))
    done = cli("record", str(path), "--store", str(tmp_path / "store"), "--dry-run", "--lanes", "4")

    assert "minutes in 4 lanes; raise `blocks` or --lanes" in done.out


def test_a_plan_with_a_real_sample_exits_2_and_names_it(cli, tmp_path):
    fields = plan_fields()
    fields["profile"][0]["sha256"] = "a" * 64
    path = write_plan(tmp_path / "plan.toml", fields)
    done = cli("record", str(path), "--store", str(tmp_path / "store"))

    assert done.code == 2
    assert "names a real sample (key sha256); only mimics are recorded" in done.err


def test_recording_without_an_image_says_how_to_make_one(cli, plan, tmp_path):
    done = cli("record", str(plan), "--store", str(tmp_path / "store"))

    assert done.code == 2
    assert "cis490 record image --out DIR" in done.err


def test_attaching_needs_a_plan_of_one_host(cli, plan, tmp_path):
    places = []
    for flag in ("--qmp-socket", "--guest-channel", "--control"):
        (tmp_path / flag).touch()
        places += [flag, str(tmp_path / flag)]
    done = cli(
        *("record", "attach", "--qemu-pid", "1", "--tap", "tap0", *places),
        *("--phases", str(plan), "--store", str(tmp_path / "store")),
    )

    assert done.code == 2
    assert "wanted a plan with one host, the machine's; it has 2" in done.err

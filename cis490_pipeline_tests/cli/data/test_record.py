import pytest

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

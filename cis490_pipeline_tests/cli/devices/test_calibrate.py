from pathlib import Path

import pytest

from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.calibration.record import read_record
from cis490_pipeline_tests.cli.runs import Cli
from cis490_pipeline_tests.experiment.runs import SIX, THINKPAD


def test_calibrate_writes_the_record_of_a_host(cli_on_copy: Cli, copied: Workspace) -> None:
    done = cli_on_copy("calibrate", "--host", THINKPAD, "--json")

    assert done.code == 0
    record = read_record(copied.paths.calibration(THINKPAD))
    assert (done.json["id"], done.json["host"]) == (record.id, THINKPAD)
    assert done.json["path"] == str(copied.paths.calibration(THINKPAD))
    assert done.json["suspect"] is False
    assert done.json["compared_with"] == 25


def test_calibrate_tells_a_person_the_same(cli_on_copy: Cli, tmp_path: Path) -> None:
    out = tmp_path / "mine.json"

    done = cli_on_copy("calibrate", "--host", THINKPAD, "--out", str(out))

    assert done.code == 0
    assert f"id: {read_record(out).id}" in done.out
    assert "suspect: False" in done.out
    assert f"record: {out}" in done.out


def test_an_unclean_baseline_is_not_written_and_exits_1(cli_on_copy: Cli, tmp_path: Path) -> None:
    out = tmp_path / "unclean.json"

    done = cli_on_copy(*infected(out))

    assert done.code == 1
    assert "not written" in done.out
    assert "--accept-unclean" in done.err
    assert not out.exists()


def test_an_accepted_unclean_baseline_is_written_and_says_so(
    cli_on_copy: Cli, tmp_path: Path
) -> None:
    out = tmp_path / "unclean.json"

    done = cli_on_copy(*infected(out), "--accept-unclean", "--json")

    assert done.code == 0
    assert done.json["suspect"] is done.json["accepted_unclean"] is True
    record = read_record(out)
    assert record.suspect
    assert record.accepted_unclean


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--host", "nobody"], "no usable episode of host 'nobody'"),
        (["--host", THINKPAD, "--first", "3"], "3 s asked for, wanted 15 to"),
        ([], "Missing option '--host'"),
    ],
)
def test_what_cannot_be_calibrated_exits_2(
    cli_on_copy: Cli, flags: list[str], problem: str
) -> None:
    done = cli_on_copy("calibrate", *flags)

    assert done.code == 2
    assert problem in done.err


def infected(out: Path) -> list[str]:
    """Ask for 60 s of an episode that is infected by then."""
    host, episode = SIX[0].host_id, SIX[0].episode_id
    return [
        "calibrate", "--host", host, "--episode", episode, "--first", "60", "--out", str(out),
    ]  # fmt: skip

import subprocess
import sys
from pathlib import Path

import pytest

from cis490_pipeline import __version__
from cis490_pipeline.cli.main import COMMANDS, cis490
from cis490_pipeline.errors import PipelineError
from cis490_pipeline.experiment.pipeline.corpus import ValidationSweep
from cis490_pipeline_tests.cli.runs import Cli

# Of the design, §5.
DESIGNED = """
run simulate validate extract split calibrate train tune evaluate study report compare inspect
export bundle live dashboard produce stale backfill gc doctor
"""


OWN = {"demo", "agent", "watch", "record", "controls", "rows"}
"""Beside them: a replay on the dashboard, what makes rows and watches one's own machine, and what
the rows show of their recorder."""


def test_commands_are_the_designs() -> None:
    assert set(COMMANDS) <= {*DESIGNED.split(), *OWN}


def test_commands_this_release_promises_are_there() -> None:
    promised = {"run", "validate", "extract", "train", "evaluate", "report", "doctor"}

    assert promised <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(plain: Cli, command: str) -> None:
    done = plain(command, "--help")

    assert done.code == 0
    assert f"Usage: cis490 {command}" in done.out


def test_help_lists_every_command(plain: Cli) -> None:
    out = plain("--help").out

    assert all(f"  {command} " in out for command in COMMANDS)


def test_command_line_installed_is_this_one() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("cis490"), "--version"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == f"cis490, version {__version__}\n"


def test_unknown_command_is_a_fault_of_usage(plain: Cli) -> None:
    done = plain("dance")

    assert done.code == 2
    assert "No such command 'dance'" in done.err


def test_unknown_flag_is_a_fault_of_usage(plain: Cli) -> None:
    assert plain("validate", "--dance").code == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seed", "-1"], "--seed: must be a whole number from 0 to 2147483647, got -1"),
        (["--workers", "0"], "--workers: must be a whole number from 1 to 1024, got 0"),
        (["--train-hosts", ","], "--train-hosts: must name at least one host"),
        (["--store", "s3://me:hunter2@lab"], "--store: s3:// must name a place alone"),
    ],
    ids=["seed", "workers", "train-hosts", "store"],
)
def test_wrong_setting_is_one_line_and_names_the_flag(
    plain: Cli, flags: list[str], message: str
) -> None:
    done = plain("validate", *flags)

    assert (done.code, done.err.count("\n")) == (2, 1)
    assert message in done.err


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted; finished work is kept, run again to continue"),
        (PipelineError("it is broken"), 2, "PipelineError: it is broken"),
        (
            OSError(28, "No space left on device", "/full"),
            2,
            (
                "No space left on device: '/full'; free space there, or name another place; "
                "what was finished is kept, run again"
            ),
        ),
    ],
    ids=["interrupt", "fault", "system"],
)
def test_what_stops_a_command_is_said_in_one_line(
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    code: int,
    said: str,
) -> None:
    def stop(_: object, *, force: bool) -> None:
        raise raised

    monkeypatch.setattr(ValidationSweep, "ensure", stop)
    done = cli("validate")

    assert done.code == code
    assert done.err.strip().splitlines()[-1].endswith(said)
    assert "Traceback" not in done.err


def test_fault_of_our_own_keeps_its_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: object, *, force: bool) -> None:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(ValidationSweep, "ensure", stop)

    with pytest.raises(ZeroDivisionError, match="a mistake of ours"):
        cis490.main(["validate"], standalone_mode=False)


def test_data_folder_that_cannot_be_is_one_line(small_store: Path, plain: Cli) -> None:
    Path("file").write_text("")

    done = plain("validate", "--store", str(small_store), "--data", "file")

    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "file" in done.err

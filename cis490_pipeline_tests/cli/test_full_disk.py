"""A full disk: each command names the file, leaves no half of it, and goes on later."""

import errno
import os
from pathlib import Path

import pytest

from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import advice_on
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline_tests.cli.runs import Cli

EPISODE = "elliott-thinkpad/01M818T3B21K3XM3WCNJE8F1GP"
COMMANDS = {
    "validate": ("validate", "--export", "out"),
    "extract": ("extract", EPISODE, "--out", "out"),
    "calibrate": ("calibrate", "--host", "garage-pi", "--out", "out"),
    "simulate": ("simulate", "out", "--episodes", "2", "--workers", "1"),
}


def full(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def half_written(folder: Path) -> list[Path]:
    return [p for p in folder.rglob(".*") if p.name.endswith((".tmp", ".new", ".old"))]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_on_a_full_disk_ends_with_2_and_goes_on_once_there_is_room(
    name: str, cli: Cli, plain: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = plain if name == "simulate" else cli
    # The gates' passes are kept in the data folder: only what the command itself writes is meant.
    assert cli("evaluate", "--model", "gbt", "--variant", "realistic", "--json").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        refused = command(*COMMANDS[name])

    assert refused.code == 2
    assert "cannot be written: No space left on device: '" in refused.err
    assert "out" in refused.err.partition("device: ")[2].partition(";")[0]
    assert "free space there" in refused.err
    assert "Traceback" not in refused.err
    assert list(tmp_path.iterdir()) == []
    assert command(*COMMANDS[name]).code in (0, 1)


@pytest.mark.long
@pytest.mark.usefixtures("only_fast_models")
def test_an_evaluation_on_a_full_disk_is_taken_up_where_it_ended(
    cli_on_copy: Cli, copied: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied.paths.checkpoint(Recipe.HOST, "gbt_realistic")
    command = ("evaluate", "--model", "gbt", "--variant", "realistic", "--json")
    # Its gates are asked, and their passes kept, before the disk is full.
    assert cli_on_copy(*command).code == 0
    (folder / "predictions.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        refused = cli_on_copy(*command)

    assert refused.code == 2
    assert f"cannot be written: No space left on device: '{folder}/" in refused.err
    assert half_written(copied.paths.root) == []
    assert cli_on_copy(*command).code == 0


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "free space"),
        (errno.EDQUOT, "free space"),
        (errno.EACCES, "right"),
        (errno.EROFS, "read-only"),
        (errno.ENOTDIR, "is a file"),
        (errno.ELOOP, "circle"),
        (errno.ENAMETOOLONG, "shorter"),
        (errno.EMFILE, "ulimit"),
    ],
)
def test_what_the_system_refuses_says_what_to_do(number: int, said: str) -> None:
    advice = advice_on(OSError(number, os.strerror(number), "/there"))

    assert advice is not None
    assert said in advice

"""What commands print of artefacts and of progress."""

import io

import pytest
from rich import progress
from rich.console import Console

from cis490_pipeline.cli import options
from cis490_pipeline.experiment.stages.record import Record
from cis490_pipeline.experiment.stages.stage import UP_TO_DATE, StageResult


def result(why: str, *, made: bool) -> StageResult:
    record = Record(
        key="model/gbt/oracle/checkpoint",
        inputs={},
        digest="d",
        files={},
        numbers={},
        seconds=1234.56,
    )
    return StageResult(record, made=made, why=why, numbers={})


def test_a_finished_artefact_is_named_with_its_seconds_and_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options.announce(result("never made", made=True))

    assert capsys.readouterr().err.split() == [
        "model/gbt/oracle/checkpoint",
        "1,234.6",
        "s",
        "never",
        "made",
    ]


def test_what_took_no_time_has_no_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    options.announce(result(UP_TO_DATE, made=False))

    assert capsys.readouterr().err.split() == ["model/gbt/oracle/checkpoint", "up", "to", "date"]


def test_commands_that_make_one_thing_do_not_list_what_was_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options.announce_made(result(UP_TO_DATE, made=False))
    options.announce_made(result("never made", made=True))

    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_second_recipes_bar_counts_its_time_from_its_own_begin() -> None:
    now_s = 0.0
    bars = progress.Progress(console=Console(file=io.StringIO()), get_time=lambda: now_s)
    draw = options._Bars(bars)
    for now_s in range(41):
        draw("train gru_oracle", now_s, 40)
    now_s = 5000
    draw("train gru_oracle", 0, 40)
    for done in (1, 2, 3):
        now_s += 10
        draw("train gru_oracle", done, 40)

    (task,) = bars.tasks
    assert task.elapsed == 30
    assert task.time_remaining == 370

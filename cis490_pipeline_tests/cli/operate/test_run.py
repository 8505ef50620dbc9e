import os
import signal
import time

import pytest

from cis490_pipeline.domain import Recipe
from cis490_pipeline.experiment.pipeline.corpus import ValidationSweep
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline_tests.cli.runs import Cli


@pytest.mark.usefixtures("only_fast_models")
def test_finished_run_makes_nothing_and_says_so(cli: Cli, finished: Workspace) -> None:
    done = cli("run", "--no-dagster")

    assert done.code == 0
    assert "everything up to date; report: " in done.out
    assert str(finished.paths.report_html(Recipe.HOST)) in done.out
    assert done.err.count("up to date") == 14


@pytest.mark.usefixtures("only_fast_models")
def test_run_ends_with_the_leaderboard(cli: Cli) -> None:
    result = cli("run", "--no-dagster", "--json").json

    assert result["made"] == []
    assert [row["kind"] for row in result["leaderboard"]["rows"]] == ["model"] * 4 + ["probe"] * 8


@pytest.mark.usefixtures("only_fast_models")
def test_run_makes_what_is_missing_and_what_follows_from_it(
    cli_on_copy: Cli, copied: Workspace
) -> None:
    copied.paths.report_json(Recipe.HOST, "mlp_oracle").unlink()
    copied.paths.report_html(Recipe.HOST).unlink()

    result = cli_on_copy("run", "--no-dagster", "--json").json

    assert result["made"] == ["model/mlp/oracle/eval_report", "model/leaderboard"]


@pytest.mark.usefixtures("only_fast_models")
@pytest.mark.long
def test_run_of_another_split_does_not_touch_this_one(cli_on_copy: Cli, copied: Workspace) -> None:
    before = copied.paths.leaderboard(Recipe.HOST).read_bytes()

    result = cli_on_copy("run", "--split", "sample", "--no-dagster", "--json").json

    assert (result["leaderboard"]["split"], len(result["made"])) == ("sample", 12)
    assert copied.paths.leaderboard(Recipe.HOST).read_bytes() == before


@pytest.mark.parametrize("flag", ["--dagster", "--no-dagster"])
def test_interrupted_run_says_that_it_can_go_on(
    cli_on_small_store: Cli, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    def be_interrupted(_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    monkeypatch.setattr(ValidationSweep, "make", be_interrupted)

    done = cli_on_small_store("run", flag)

    assert done.code == 130
    assert "interrupted; finished work is kept, run again to continue" in done.err

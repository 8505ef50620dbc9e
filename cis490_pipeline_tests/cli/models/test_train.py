import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cis490_pipeline.domain import Recipe
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.storage.files import read_json
from cis490_pipeline_tests.cli.runs import Cli
from cis490_pipeline_tests.experiment.runs import flip_a_byte

GBT = ("--model", "gbt", "--variant", "realistic")
FAST_FLAGS = ("--model", "gbt", "--model", "mlp")
NAMES = {"gbt_oracle", "gbt_realistic", "mlp_oracle", "mlp_realistic"}


def test_train_says_what_is_up_to_date(cli: Cli) -> None:
    result = cli("train", *FAST_FLAGS, "--json").json

    assert {name: row["why"] for name, row in result.items()} == dict.fromkeys(NAMES, "up to date")


@pytest.mark.long
def test_train_again_by_force_gives_the_same_checkpoint(cli_on_copy: Cli) -> None:
    before = cli_on_copy("train", *GBT, "--json").json["gbt_realistic"]
    after = cli_on_copy("train", *GBT, "--force", "--json").json["gbt_realistic"]

    assert (after["why"], after["digest"]) == ("forced", before["digest"])


def test_train_tells_a_person_the_validation_score(cli: Cli) -> None:
    assert cli("train", *GBT).out.startswith("gbt_realistic: val macro F1 0.")


def test_evaluate_gives_the_reports(cli: Cli, finished: Workspace) -> None:
    result = cli("evaluate", *FAST_FLAGS, "--json").json

    assert result == {
        name: read_json(finished.paths.report_json(Recipe.HOST, name)) for name in NAMES
    }


def test_evaluate_tells_a_person_the_interval_and_what_it_is_of(cli: Cli) -> None:
    out = cli("evaluate", *GBT).out

    assert out.startswith("gbt_realistic: macro F1 0.")
    assert out.endswith("on host test, 31 episodes, 350 windows\n")


def test_evaluate_before_training_is_one_clear_line(cli: Cli) -> None:
    done = cli("evaluate", "--model", "cnn", "--variant", "oracle")

    assert done.code == 2
    assert done.err.strip() == (
        "EvaluationError: cnn_oracle on split host: never made; train it first: "
        "cis490 train --split host --model cnn"
    )


def test_evaluate_before_anything_is_one_clear_line(cli_on_small_store: Cli) -> None:
    done = cli_on_small_store("evaluate", *GBT)

    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "an input does not exist yet; train it first" in done.err


def test_evaluate_of_a_damaged_checkpoint_says_train_it(
    cli_on_copy: Cli, copied: Workspace
) -> None:
    flip_a_byte(copied.paths.checkpoint("host", "gbt_realistic") / "model.ubj")

    done = cli_on_copy("evaluate", *GBT)

    assert done.code == 2
    assert "gbt_realistic/model.ubj: sha256 is" in done.err
    assert "train it again" in done.err


CHANGED_KIND = """
import dataclasses, sys
import cis490_pipeline.domain as domain
from cis490_pipeline.domain import telemetry
telemetry.CHANNELS = domain.CHANNELS = tuple(
    dataclasses.replace(c, kind=domain.Kind.GAUGE) if c.name == "guest.forks" else c
    for c in telemetry.CHANNELS
)
from cis490_pipeline.cli import main
main(sys.argv[1:])
"""


def test_evaluate_after_a_channels_kind_changed_is_refused_and_names_the_channel(
    finished: Workspace,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHANGED_KIND, "evaluate", *GBT, "--data", finished.paths.root],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "first difference: channel 6 (guest.forks) kind was 'counter'" in done.stderr


def test_report_shows_the_board_the_probes_and_the_page(cli: Cli, finished: Workspace) -> None:
    out = cli("report").out

    assert all(name in out for name in (*NAMES, "probe_majority", "probe_position"))
    assert "untested on k-gamingcom: scan-and-dial" in out
    assert "the best probe on validation, probe_gauges_history" in out.replace("\n", " ")
    assert str(finished.paths.report_html("host")) in out.replace("\n", "")


def test_report_gives_the_board_to_machines(cli: Cli, finished: Workspace) -> None:
    result = cli("report", "--json").json

    assert result["leaderboard"] == read_json(finished.paths.leaderboard("host"))


def test_report_before_any_evaluation_is_one_clear_line(cli: Cli) -> None:
    done = cli("report", "--split", "time")

    assert done.code == 2
    assert done.err.strip() == (
        "EvaluationError: no model of recipe time is evaluated and up to date; "
        "run: cis490 run --recipe time"
    )


def test_inspect_describes_a_checkpoint(plain: Cli, finished: Workspace) -> None:
    described = plain(
        "inspect", str(finished.paths.checkpoint("host", "mlp_oracle")), "--json"
    ).json

    assert (described["model"], described["calibration"]) == ("mlp_oracle", "episode_baseline")


def test_inspect_of_a_damaged_checkpoint_is_refused(
    plain: Cli, finished: Workspace, tmp_path: Path
) -> None:
    folder = tmp_path / "gbt_oracle"
    shutil.copytree(finished.paths.checkpoint("host", "gbt_oracle"), folder)
    flip_a_byte(folder / "model.ubj")

    done = plain("inspect", str(folder))

    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "model.ubj: sha256 is" in done.err


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_inspect_of_what_is_no_checkpoint_is_refused(plain: Cli, folder: str) -> None:
    assert plain("inspect", folder).code == 2


@pytest.mark.long
def test_more_seeds_give_a_mean_with_an_interval(cli_on_copy: Cli, copied: Workspace) -> None:
    trained = cli_on_copy("train", *GBT, "--seeds", "3", "--json").json
    scored = cli_on_copy("evaluate", *GBT, "--seeds", "3", "--json").json
    board = cli_on_copy("report", "--json").json["leaderboard"]
    out = cli_on_copy("report").out

    names = {"gbt_realistic", "gbt_realistic.seed-1", "gbt_realistic.seed-2"}
    assert set(trained) == set(scored) == names
    assert len({row["digest"] for row in trained.values()}) == 3
    rows = {row["model"]: row for row in board["rows"]}
    told = rows["gbt_realistic"]["seeds"]
    assert (told["n_seeds"], told["seeds"]) == (3, [0, 1, 2])
    assert told["macro_f1"] == [scored[name]["macro_f1"] for name in sorted(names)]
    assert told["ci_low"] < told["mean"] < told["ci_high"]
    assert rows["mlp_oracle"]["seeds"]["n_seeds"] == 1
    assert f"gbt_realistic over 3 seeds: mean {told['mean']:.3f}" in out
    assert "one seed (0) for all others" in out
    page = copied.paths.report_html(Recipe.HOST).read_text()
    assert f"gbt_realistic over 3 seeds: mean {told['mean']:.3f}" in page


def test_a_single_seed_says_so(cli: Cli) -> None:
    assert "one seed (0) for each" in cli("report").out


def test_evaluate_of_a_seed_never_trained_says_how_to_train_it(cli_on_copy: Cli) -> None:
    done = cli_on_copy("evaluate", *GBT, "--seeds", "2")

    assert done.code == 2
    assert "gbt_realistic.seed-1 on split host: never made; train it first" in done.err
    assert "--model gbt --seeds 2" in done.err

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cis490_pipeline.domain import Recipe
from cis490_pipeline.evaluation.probes.learn import CONTROLS, PROBES
from cis490_pipeline.experiment.leaderboard import Leaderboard
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.schema import feature_schema
from cis490_pipeline.storage.files import read_json
from cis490_pipeline_tests.experiment.runs import FAST, copy_of

NAMES = [f"{architecture}_{variant}" for architecture, variant in FAST]


@pytest.fixture(scope="module")
def board(finished: Workspace) -> dict[str, Any]:
    found: dict[str, Any] = read_json(finished.paths.leaderboard(Recipe.HOST))
    return found


@pytest.fixture
def spoilt(finished: Workspace, tmp_path: Path) -> Workspace:
    return copy_of(finished, tmp_path)


def test_board_has_the_designs_keys(board: dict[str, Any]) -> None:
    assert {"split", "schema", "untested_profiles", "rows"} <= board.keys()


def test_rows_have_the_designs_keys(board: dict[str, Any]) -> None:
    wanted = {"model", "kind", "macro_f1", "ci_low", "ci_high", "n_episodes", "n_windows"}

    assert all(wanted <= row.keys() for row in board["rows"])


def test_rows_are_the_models_and_then_the_probes(board: dict[str, Any]) -> None:
    kinds = [row["kind"] for row in board["rows"]]
    models = {row["model"] for row in board["rows"] if row["kind"] == "model"}

    probes = {row["model"] for row in board["rows"] if row["kind"] == "probe"}

    assert kinds == ["model"] * 4 + ["probe"] * len(PROBES)
    assert models == set(NAMES)
    assert probes == PROBES.keys()


def test_models_come_best_first(board: dict[str, Any]) -> None:
    scores = [row["macro_f1"] for row in board["rows"] if row["kind"] == "model"]

    assert scores == sorted(scores, reverse=True)


def test_untested_profiles_are_named_by_host(board: dict[str, Any]) -> None:
    assert board["untested_profiles"] == {
        "k-gamingcom": ["scan-and-dial"],
        "lab-nuc": ["exfil-burst"],
    }


def test_schema_is_that_of_the_data(board: dict[str, Any]) -> None:
    from cis490_pipeline.domain import Variant

    assert board["schema"] == feature_schema("tensor", Variant.ORACLE).hash


def test_board_says_whether_the_model_beats_the_best_probe(board: dict[str, Any]) -> None:
    said = board["best_vs_probe"]
    shortcuts = [
        row for row in board["rows"] if row["kind"] == "probe" and row["model"] not in CONTROLS
    ]
    best = max(shortcuts, key=lambda row: row["val_macro_f1"])["model"]
    pair = next(pair for pair in said["comparisons"] if pair["b"] == best)

    assert (said["model"], said["best_probe"]) == (board["selected"]["realistic"], best)
    assert said["beats"] == (pair["ci_low"] > 0 and pair["p_holm"] <= 0.05)
    assert said["difference"] == pair["difference"]


def test_board_says_what_probes_learnt_from(board: dict[str, Any], finished: Workspace) -> None:
    train = pl.read_parquet(finished.paths.validation_index(Recipe.HOST)).filter(side="train")

    assert board["probes"]["fitted_on"] == "train"
    assert board["probes"]["n_train_episodes"] == train.height


def test_rows_repeat_the_reports_numbers(finished: Workspace, board: dict[str, Any]) -> None:
    rows = {row["model"]: row for row in board["rows"]}
    reports = [read_json(finished.paths.report_json(Recipe.HOST, name)) for name in NAMES]

    assert all(
        rows[report["model"]][name] == report[name]
        for report in reports
        for name in ("macro_f1", "ci_low", "ci_high", "n_episodes", "n_windows")
    )


def test_chosen_model_is_the_best_on_validation(finished: Workspace, board: dict[str, Any]) -> None:
    for variant, chosen in board["selected"].items():
        of_view = [row for row in board["rows"] if row["variant"] == variant]
        assert chosen == max(of_view, key=lambda row: row["val_macro_f1"])["model"]


def test_page_shows_every_model(finished: Workspace) -> None:
    page = finished.paths.report_html(Recipe.HOST).read_text()

    assert all(name in page for name in NAMES)


def test_second_time_nothing_is_made(finished: Workspace) -> None:
    assert Leaderboard(finished, Recipe.HOST).ensure().why == "up to date"


def test_comparing_again_gives_the_same_board(spoilt: Workspace, board: dict[str, Any]) -> None:
    Leaderboard(spoilt, Recipe.HOST).ensure(force=True)

    assert read_json(spoilt.paths.leaderboard(Recipe.HOST)) == board


@pytest.mark.long
def test_model_whose_report_is_outdated_is_not_shown(spoilt: Workspace) -> None:
    stage = EvaluationReport(spoilt, Recipe.HOST, *FAST[0])
    stage.workspace.paths.report_json(Recipe.HOST, stage.name).unlink()

    outcome = Leaderboard(spoilt, Recipe.HOST).ensure()

    board = read_json(spoilt.paths.leaderboard(Recipe.HOST))
    shown = {row["model"] for part in (board, board["robustness"]) for row in part["rows"]}
    assert outcome.why == "changed: gbt_realistic"
    assert stage.name not in shown

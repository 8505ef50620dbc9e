from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cis490_pipeline.domain import Recipe
from cis490_pipeline.evaluation.ensemble import mean_predictions
from cis490_pipeline.evaluation.predictions import matrices_of
from cis490_pipeline.evaluation.probes.learn import CONTROLS, PROBES
from cis490_pipeline.evaluation.uncertainty.intervals import episode_interval
from cis490_pipeline.experiment import leaderboard as leaderboard_stage
from cis490_pipeline.experiment import order
from cis490_pipeline.experiment.leaderboard import Leaderboard
from cis490_pipeline.experiment.pipeline import ablation, robustness
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.upkeep.stale import make_again, survey
from cis490_pipeline.features.schema import feature_schema
from cis490_pipeline.storage.files import read_json, write_json
from cis490_pipeline_tests.evaluation.measured import STUDY
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


def test_board_says_why_it_has_no_controls(board: dict[str, Any]) -> None:
    controls = board["controls"]

    assert (controls["steps"], controls["blocks"], controls["models"]) == (None, [], [])
    assert "recorder's notes" in controls["why"]


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


@pytest.mark.long
def test_comparing_again_gives_the_same_board(spoilt: Workspace, board: dict[str, Any]) -> None:
    Leaderboard(spoilt, Recipe.HOST).ensure(force=True)

    assert read_json(spoilt.paths.leaderboard(Recipe.HOST)) == board


def test_board_says_of_tables_that_were_never_made_that_they_were_not_run(
    finished: Workspace, board: dict[str, Any]
) -> None:
    record = Leaderboard(finished, Recipe.HOST).record()
    page = finished.paths.report_html(Recipe.HOST).read_text()
    calibrations = page[page.index("Ways of calibration") :]

    assert (board["ablation"], board["ablation_of"], board["robustness"]) == ([], {}, None)
    assert record is not None
    assert record.inputs.keys().isdisjoint({"ablation", "robustness"})
    assert "not run" in calibrations[: calibrations.index("</div>")]
    assert "What each fault costs" not in page


def test_only_a_board_that_is_compared_again_wants_its_tables_first(
    spoilt: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Leaderboard(spoilt, Recipe.HOST)

    assert stage.tables_to_make() == ()
    with monkeypatch.context() as drawn_otherwise:
        drawn_otherwise.setattr(leaderboard_stage, "page_digest", lambda: "another")
        assert stage.tables_to_make() == ()
    spoilt.paths.report_json(Recipe.HOST, NAMES[0]).unlink()
    assert [table.key for table in stage.tables_to_make()] == ["model/ablation", "model/robustness"]


@pytest.mark.long
def test_a_board_of_older_code_is_stale_and_a_backfill_makes_its_tables_and_all_is_current(
    spoilt: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "MODELS", FAST)
    monkeypatch.setattr(leaderboard_stage, "MODELS", FAST)
    monkeypatch.setitem(ablation.ROUNDS, "max_rounds", 3)
    monkeypatch.setattr(robustness, "MAX_EPISODES", 3)
    path = Leaderboard(spoilt, Recipe.HOST).record_path
    record = read_json(path)
    # That code made both itself, without a record of theirs in the recipe's scope.
    record["inputs"] |= {"ablation": "5a" * 32, "robustness": "1.1"}
    write_json(path, record)

    found = {a.key: (a.state, a.why) for a in survey(spoilt, (Recipe.HOST,)) if a.wanted}
    made = make_again(spoilt, Recipe.HOST)

    assert found == {
        "model/ablation": ("not made", "needed by what is stale"),
        "model/robustness": ("not made", "needed by what is stale"),
        "model/leaderboard": ("stale", "changed: ablation, robustness"),
    }
    assert made == list(found)
    assert {a.state for a in survey(spoilt, (Recipe.HOST,))} == {"up to date"}
    board = read_json(spoilt.paths.leaderboard(Recipe.HOST))
    assert board["ablation"] == read_json(spoilt.paths.ablation(Recipe.HOST))["rows"]
    assert board["robustness"] == read_json(spoilt.paths.robustness(Recipe.HOST))


@pytest.mark.long
def test_model_whose_report_is_outdated_is_not_shown(
    with_tables: Workspace, tmp_path: Path
) -> None:
    spoilt = copy_of(with_tables, tmp_path)
    stage = EvaluationReport(spoilt, Recipe.HOST, *FAST[0])
    stage.workspace.paths.report_json(Recipe.HOST, stage.name).unlink()

    outcome = Leaderboard(spoilt, Recipe.HOST).ensure()

    board = read_json(spoilt.paths.leaderboard(Recipe.HOST))
    shown = {row["model"] for part in (board, board["robustness"]) for row in part["rows"]}
    assert outcome.why == "changed: gbt_realistic"
    assert stage.name not in shown


@pytest.mark.long
def test_a_study_of_hosts_left_out_chooses_the_model_and_shows_the_ensemble_it_bears_out(
    spoilt: Workspace, board: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # No copy of these runs has such a study: on this corpus it would open the test side.
    monkeypatch.setattr(leaderboard_stage, "carried_study", lambda *_: STUDY)
    stage = Leaderboard(spoilt, Recipe.HOST)

    outcome = stage.ensure()

    found = read_json(spoilt.paths.leaderboard(Recipe.HOST))
    assert outcome.why == "changed: study"
    assert found["selected_by"] == {"realistic": "host_out"}
    assert found["selected"] == {**board["selected"], "realistic": "gbt_realistic"}
    (row,) = (row for row in found["rows"] if row["kind"] == "ensemble")
    report = read_json(spoilt.paths.report_json(Recipe.HOST, "ensemble_realistic"))
    assert row["parts"] == ["gbt_realistic", "mlp_realistic"]
    assert (row["macro_f1"], row["variant"]) == (report["macro_f1"], "realistic")
    frames = [r.predictions() for r in stage.reports if r.name in row["parts"]]
    test = mean_predictions(*frames).filter(side="test")
    assert row["macro_f1"] == episode_interval(matrices_of(test).counts, seed=0).estimate
    others = [row for row in found["rows"] if row["kind"] != "ensemble"]
    assert [{**row, "selected": None} for row in others] == [
        {**row, "selected": None} for row in board["rows"]
    ]
    page = spoilt.paths.report_html(Recipe.HOST).read_text()
    assert "mean of gbt_realistic and mlp_realistic" in page
    assert "Macro F1 on devices left out in turn" in page

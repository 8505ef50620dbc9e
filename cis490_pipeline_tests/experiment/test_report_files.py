"""The report is drawn from its JSON alone, and again only where that is enough."""

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import EvaluationError, StoreError
from cis490_pipeline.experiment import leaderboard as leaderboard_stage
from cis490_pipeline.experiment.leaderboard import Leaderboard
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.experiment.report_files import draw_report
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.storage.data_paths import DataPaths
from cis490_pipeline.storage.files import read_json, write_json
from cis490_pipeline_tests.experiment.runs import FAST, copy_of

NAMES = sorted(f"{architecture}_{variant}" for architecture, variant in FAST)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def spoilt(finished: Workspace, tmp_path: Path) -> Workspace:
    return copy_of(finished, tmp_path)


@pytest.fixture
def json_alone(finished: Workspace, tmp_path: Path) -> DataPaths:
    """The JSON of a report, and nothing else of its data folder."""
    paths = DataPaths(tmp_path / "elsewhere")
    folder = paths.report_part(Recipe.HOST, ".")
    folder.mkdir(parents=True)
    for path in finished.paths.report_part(Recipe.HOST, ".").glob("*.json"):
        shutil.copy2(path, folder)
    return paths


def refuse(*arguments: Any, **named: Any) -> None:
    raise AssertionError("this must not be called")


def test_the_report_lies_beside_its_json_whole(finished: Workspace) -> None:
    made = contents(finished.paths.report_part(Recipe.HOST, "."))

    assert {f"cards/{name}.md" for name in NAMES} <= made.keys()
    assert {"tables/leaderboard.csv", "tables/leaderboard.tex", "tables/pairs.csv"} <= made.keys()
    assert {"schema/leaderboard.schema.json", "schema/eval_report.schema.json"} <= made.keys()
    assert {"probe_majority.json", "probe_position.json", "made_from.json"} <= made.keys()


def test_every_file_of_the_report_is_recorded(finished: Workspace) -> None:
    record = Leaderboard(finished, Recipe.HOST).record()
    assert record is not None

    drawn = {name for name in record.files if name.startswith("reports/host/")}

    made = contents(finished.paths.report_part(Recipe.HOST, "."))
    of_other_stages = {f"{name}.json" for name in (*NAMES, "ablation", "robustness", "study")}
    assert {name.removeprefix("reports/host/") for name in drawn} == made.keys() - of_other_stages


def test_the_real_json_is_of_the_schema_beside_it(finished: Workspace) -> None:
    folder = finished.paths.report_part(Recipe.HOST, ".")
    form = {
        name: jsonschema.Draft202012Validator(read_json(folder / f"schema/{name}.schema.json"))
        for name in ("leaderboard", "eval_report")
    }

    form["leaderboard"].validate(read_json(folder / "leaderboard.json"))
    for name in (*NAMES, "probe_majority", "probe_position"):
        form["eval_report"].validate(read_json(folder / f"{name}.json"))


def test_the_json_alone_gives_the_same_report_to_the_byte(
    finished: Workspace, json_alone: DataPaths
) -> None:
    draw_report(json_alone, Recipe.HOST)

    drawn = contents(json_alone.report_part(Recipe.HOST, "."))
    assert drawn == contents(finished.paths.report_part(Recipe.HOST, "."))


def test_what_is_drawn_no_more_is_cleared_away(json_alone: DataPaths) -> None:
    old = json_alone.report_part(Recipe.HOST, "tables/gone.csv")
    old.parent.mkdir()
    old.write_text("old")

    drawn = draw_report(json_alone, Recipe.HOST)

    assert not old.exists()
    assert all(path.is_file() for path in drawn)


def test_a_report_without_what_it_was_made_from_is_refused_by_name(json_alone: DataPaths) -> None:
    json_alone.made_from(Recipe.HOST).unlink()

    with pytest.raises(StoreError, match=r"made_from\.json: no such file"):
        draw_report(json_alone, Recipe.HOST)


def test_what_it_was_made_from_must_be_whole(json_alone: DataPaths) -> None:
    write_json(json_alone.made_from(Recipe.HOST), {"split": {}})

    with pytest.raises(EvaluationError, match=r"made_from\.json.*`\$\.split` is an object of n"):
        draw_report(json_alone, Recipe.HOST)


def test_a_number_that_is_none_is_refused_with_its_place(json_alone: DataPaths) -> None:
    path = json_alone.report_json(Recipe.HOST, "mlp_oracle")
    report = json.loads(path.read_bytes())
    report["per_host"][0]["macro_f1"] = "high"
    write_json(path, report)

    with pytest.raises(EvaluationError, match=r"mlp_oracle\.json.*`\$\.per_host\[0\]\.macro_f1`"):
        draw_report(json_alone, Recipe.HOST)


def test_another_drawing_compares_nothing_anew_and_opens_no_test_side(
    spoilt: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Leaderboard(spoilt, Recipe.HOST)
    before = contents(spoilt.paths.report_part(Recipe.HOST, "."))
    spoilt.paths.report_html(Recipe.HOST).write_text("another drawing")
    monkeypatch.setattr(leaderboard_stage, "page_digest", lambda: "another")
    monkeypatch.setattr(leaderboard_stage, "compare_models", refuse)
    monkeypatch.setattr(EvaluationReport, "predictions", refuse)

    outcome = stage.ensure()

    assert outcome.why == "changed: page"
    assert contents(spoilt.paths.report_part(Recipe.HOST, ".")) == before
    assert stage.ensure().why == "up to date"


def test_a_lost_drawing_is_drawn_again_from_the_numbers(
    spoilt: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = spoilt.paths.report_html(Recipe.HOST)
    before = page.read_bytes()
    page.unlink()
    monkeypatch.setattr(leaderboard_stage, "compare_models", refuse)

    outcome = Leaderboard(spoilt, Recipe.HOST).ensure()

    assert outcome.why == "missing or altered: reports/host/report.html"
    assert page.read_bytes() == before


@pytest.mark.parametrize("how", ["altered numbers", "asked for again"])
@pytest.mark.long
def test_numbers_that_are_lost_or_asked_for_are_compared_again(
    spoilt: Workspace, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    stage = Leaderboard(spoilt, Recipe.HOST)
    if how == "altered numbers":
        spoilt.paths.leaderboard(Recipe.HOST).write_text("{}")
    monkeypatch.setattr(leaderboard_stage, "compare_models", refuse)

    with pytest.raises(AssertionError, match="must not be called"):
        stage.ensure(force=how == "asked for again")

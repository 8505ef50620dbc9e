"""The published schemas, against what is really written and what never should be."""

import copy
import json
from pathlib import Path

import jsonschema
import msgspec
import pytest

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.schema.board import Leaderboard
from cis490_pipeline.evaluation.schema.report import EvalReport
from cis490_pipeline.evaluation.schema.stored import checked_form, read_form, read_report
from cis490_pipeline.evaluation.schema.study import CarriedStudy
from cis490_pipeline.reporting.publish_schema import schema_files, schema_text
from cis490_pipeline.storage.files import write_json
from cis490_pipeline_tests.evaluation.boards import board_of
from cis490_pipeline_tests.evaluation.measured import measured, older

FILES = Path(__file__).parent / "stored"
STORED = [FILES / "gbt_realistic.json", FILES / "probe_majority.json"]
DOCS = Path(__file__).parents[2] / "docs" / "schema"


@pytest.fixture(scope="module")
def made():
    return older(*board_of(n_resamples=20))


@pytest.fixture(scope="module")
def full(made):
    board, reports, probes = made
    return *measured(board, reports), probes


def validator(name):
    return jsonschema.Draft202012Validator(json.loads(schema_text(name)))


def as_written(value):
    return json.loads(json.dumps(value, allow_nan=False))


@pytest.mark.parametrize("name", ["eval_report", "leaderboard", "controls"])
def test_the_schemas_are_schemas(name):
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text(name)))


@pytest.mark.parametrize("which", ["made", "full"])
def test_reports_and_boards_are_of_their_form(which, request):
    board, reports, probes = as_written(request.getfixturevalue(which))

    validator("leaderboard").validate(board)
    checked_form(board, Leaderboard, "board")
    for report in (*reports, *probes):
        validator("eval_report").validate(report)
        checked_form(report, EvalReport, report["model"])


FAULTS = {
    "a score over one": ("macro_f1", 1.2),
    "a score as text": ("macro_f1", "0.5"),
    "a count below zero": ("n_episodes", -1),
    "half a window": ("n_windows", 10.5),
    "another format": ("format", "leaderboards"),
    "no list": ("per_class", None),
    "a phase without a name": ("per_class", [{"f1": 0.5}]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_schema_and_the_check_refuse_the_same(made, fault):
    name, value = FAULTS[fault]
    wrong = {**as_written(made[1][0]), name: value}

    assert not validator("eval_report").is_valid(wrong)
    with pytest.raises(EvaluationError, match=r"^a\.json: no EvalReport of this version: .+"):
        checked_form(wrong, EvalReport, "a.json")


@pytest.mark.parametrize("key", ["macro_f1", "untested_profiles", "val", "profile_host"])
def test_what_is_wanted_may_not_be_missing(made, key):
    lacking = copy.deepcopy(as_written(made[1][0]))
    del lacking[key]

    assert not validator("eval_report").is_valid(lacking)
    with pytest.raises(EvaluationError, match=f"missing required field `{key}`"):
        checked_form(lacking, EvalReport, "a.json")


def test_a_later_version_may_say_more(made):
    assert validator("leaderboard").is_valid({**as_written(made[0]), "new": 1})


def test_the_published_files_are_those_of_the_code():
    assert {path.name: path.read_text(encoding="utf-8") for path in DOCS.glob("*.json")} == (
        schema_files()
    ), "run: python -m docs.make_reference"


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_the_form_names_every_key_of_a_stored_report(path, tmp_path):
    """`msgspec.convert` drops keys without a name and may turn 1 into 1.0; neither happens."""
    write_json(tmp_path / "again.json", msgspec.convert(read_report(path), EvalReport))

    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_the_form_names_every_key_of_a_stored_board(tmp_path):
    path = FILES / "leaderboard.json"
    write_json(tmp_path / "again.json", msgspec.convert(read_form(path, Leaderboard), Leaderboard))

    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_the_form_names_every_key_of_a_carried_study(full):
    study = as_written(full[0]["study"])

    assert msgspec.to_builtins(msgspec.convert(study, CarriedStudy)) == study


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"ablation": [{}]}, "`$.ablation[0]` is an object of nothing. Object missing"),
        ({"rows": [3]}, "`$.rows[0]` is 3. Expected `object`, got `int`."),
        ({"study": {"status": "old"}}, "`$.study.status` is 'old'. Invalid enum value 'old'."),
    ],
)
def test_a_stored_board_that_does_not_fit_says_file_field_found_wanted_and_remedy(
    made, tmp_path, change, fault
):
    path = tmp_path / "leaderboard.json"
    write_json(path, {**made[0], **change})

    with pytest.raises(EvaluationError) as refused:
        read_form(path, Leaderboard)

    assert str(refused.value).startswith(f"{path}: no Leaderboard of this version: {fault}")
    assert str(refused.value).endswith("Make it again: cis490 report")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"macro_f1": 1.5}, "`$.macro_f1` is 1.5. Expected `float` <= 1.0."),
        ({"confusion": {}}, "`$.confusion` is an object of nothing. Object missing required field"),
        ({"per_class": [3]}, "`$.per_class[0]` is 3. Expected `object`, got `int`."),
        ({"counts": {"test": "x"}}, "`$.counts[...]` is an object of test. Expected `int`"),
        ({"reliability": [1, 2]}, "`$.reliability` is a list of 2. Expected `object | null`"),
    ],
)
def test_a_stored_report_that_does_not_fit_says_file_field_found_wanted_and_remedy(
    made, tmp_path, change, fault
):
    path = tmp_path / "a.json"
    write_json(path, {**made[1][0], **change})

    with pytest.raises(EvaluationError) as refused:
        read_report(path)

    assert str(refused.value).startswith(f"{path}: no EvalReport of this version: {fault}")
    assert str(refused.value).endswith("Make it again: cis490 report")


def test_what_is_no_object_is_refused_as_a_whole():
    with pytest.raises(EvaluationError, match=r"`\$` is 3\. Expected `object`, got `int`"):
        checked_form(3, EvalReport, "a.json")

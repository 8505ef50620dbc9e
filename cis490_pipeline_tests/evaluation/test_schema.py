"""The published schemas, against what is really written and what never should be."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.reporting.publish_schema import json_schema, require_form, schema_files
from cis490_pipeline_tests.evaluation.boards import board_of
from cis490_pipeline_tests.evaluation.measured import measured, older

DOCS = Path(__file__).parents[2] / "docs" / "schema"


@pytest.fixture(scope="module")
def made():
    return older(*board_of(n_resamples=20))


@pytest.fixture(scope="module")
def full(made):
    board, reports, probes = made
    return *measured(board, reports), probes


def validator(name):
    return jsonschema.Draft202012Validator(json_schema(name))


def as_written(value):
    return json.loads(json.dumps(value, allow_nan=False))


@pytest.mark.parametrize("name", ["eval_report", "leaderboard"])
def test_the_schemas_are_schemas(name):
    jsonschema.Draft202012Validator.check_schema(json_schema(name))


@pytest.mark.parametrize("which", ["made", "full"])
def test_reports_and_boards_are_of_their_form(which, request):
    board, reports, probes = as_written(request.getfixturevalue(which))

    validator("leaderboard").validate(board)
    require_form(board, "leaderboard", "board")
    for report in (*reports, *probes):
        validator("eval_report").validate(report)
        require_form(report, "eval_report", report["model"])


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
    with pytest.raises(EvaluationError, match=r"^a\.json: no eval_report of this version: .+"):
        require_form(wrong, "eval_report", "a.json")


@pytest.mark.parametrize("key", ["macro_f1", "untested_profiles", "val", "profile_host"])
def test_what_is_wanted_may_not_be_missing(made, key):
    lacking = copy.deepcopy(as_written(made[1][0]))
    del lacking[key]

    assert not validator("eval_report").is_valid(lacking)
    with pytest.raises(EvaluationError, match=f"missing required field `{key}`"):
        require_form(lacking, "eval_report", "a.json")


def test_a_later_version_may_say_more(made):
    assert validator("leaderboard").is_valid({**as_written(made[0]), "new": 1})


def test_the_published_files_are_those_of_the_code():
    assert {path.name: path.read_text(encoding="utf-8") for path in DOCS.glob("*.json")} == (
        schema_files()
    ), "run: python -m docs.make_reference"

import json
import shutil
from pathlib import Path

import pytest

from cis490_pipeline.domain import Architecture, Recipe, Variant
from cis490_pipeline.errors import CheckpointError, EvaluationError
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.tools.compare import compare_folders
from cis490_pipeline.storage.files import read_json
from cis490_pipeline_tests.experiment.runs import FAST, copy_of, flip_a_byte

NAMES = [f"{architecture}_{variant}" for architecture, variant in FAST]


@pytest.fixture
def other(finished: Workspace, tmp_path: Path) -> Workspace:
    return copy_of(finished, tmp_path)


def test_two_folders_of_one_run_are_made_alike(finished: Workspace, other: Workspace) -> None:
    found = compare_folders(finished.paths.root, other.paths.root, Recipe.HOST)

    assert [row["model"] for row in found["rows"]] == NAMES
    assert {row["verdict"] for row in found["rows"]} == {"made alike"}
    assert {row["difference"] for row in found["rows"]} == {0.0}
    assert found["only_in"] == {str(finished.paths.root): [], str(other.paths.root): []}


def test_a_report_folder_stands_for_its_data_folder(finished: Workspace, other: Workspace) -> None:
    reports = finished.paths.leaderboard(Recipe.HOST).parent

    found = compare_folders(reports, other.paths.root, Recipe.HOST)

    assert len(found["rows"]) == len(NAMES)


@pytest.mark.long
def test_another_seed_is_the_only_thing_that_differs(finished: Workspace, other: Workspace) -> None:
    further = EvaluationReport(other, Recipe.HOST, Architecture.GBT, Variant.REALISTIC, seed=1)
    further.checkpoint.ensure()
    further.ensure()
    first = finished.paths.checkpoint("host", "gbt_realistic")

    (row,) = compare_folders(first, further.checkpoint.folder, Recipe.HOST)["rows"]

    assert row["model"] == "gbt_realistic.seed-1 − gbt_realistic"
    assert row["verdict"] == "only the seed differs"
    assert row["changed"] == {"seed": ["0", "1"]}
    scores = [
        read_json(finished.paths.report_json("host", "gbt_realistic"))["macro_f1"],
        read_json(further.report_path)["macro_f1"],
    ]
    assert [row["first"], row["second"]] == scores
    assert row["difference"] == pytest.approx(scores[1] - scores[0], abs=0.05)


def test_two_architectures_differ_in_more_than_the_seed(finished: Workspace) -> None:
    folders = [finished.paths.checkpoint("host", name) for name in ("gbt_realistic", "mlp_oracle")]

    (row,) = compare_folders(*folders, Recipe.HOST)["rows"]

    assert row["verdict"].startswith("differ in model, settings")


def test_a_model_in_one_run_alone_is_named(finished: Workspace, other: Workspace) -> None:
    shutil.rmtree(other.paths.checkpoint("host", "mlp_oracle"))

    found = compare_folders(finished.paths.root, other.paths.root, Recipe.HOST)

    assert found["only_in"][str(finished.paths.root)] == ["mlp_oracle"]
    assert len(found["rows"]) == len(NAMES) - 1


def test_runs_without_predictions_are_refused_with_the_way_to_get_them(
    finished: Workspace, tmp_path: Path
) -> None:
    with pytest.raises(
        EvaluationError, match=r"no predictions of split time .* cis490 run --split"
    ):
        compare_folders(finished.paths.root, finished.paths.root, Recipe.TIME)
    with pytest.raises(EvaluationError, match="nowhere: no such folder"):
        compare_folders(tmp_path / "nowhere", finished.paths.root, Recipe.HOST)


def test_a_checkpoint_is_not_compared_with_a_whole_run(finished: Workspace) -> None:
    checkpoint = finished.paths.checkpoint("host", "gbt_oracle")

    with pytest.raises(EvaluationError, match="name two of one kind"):
        compare_folders(checkpoint, finished.paths.root, Recipe.HOST)


def test_predictions_of_another_checkpoint_are_refused(
    finished: Workspace, other: Workspace
) -> None:
    path = other.paths.checkpoint("host", "gbt_oracle") / "predictions.json"
    path.write_text(json.dumps({**read_json(path), "checkpoint_digest": "0" * 64}))

    with pytest.raises(EvaluationError, match="predictions are of something else"):
        compare_folders(finished.paths.root, other.paths.root, Recipe.HOST)


def test_a_damaged_checkpoint_is_refused(finished: Workspace, other: Workspace) -> None:
    folder = other.paths.checkpoint("host", "gbt_oracle")
    flip_a_byte(folder / "model.ubj")

    with pytest.raises(CheckpointError, match=r"model\.ubj: sha256 is"):
        compare_folders(finished.paths.checkpoint("host", "gbt_oracle"), folder, Recipe.HOST)

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from cis490_pipeline.alarm.alarm import AlarmSettings
from cis490_pipeline.domain import PHASES, EpisodeRef, Recipe, Side
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.evaluation.detection.windows import alarm_windows
from cis490_pipeline.evaluation.predictions import probabilities, read_predictions
from cis490_pipeline.experiment.pipeline.alarm_inputs import alarm_inputs
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.datasets.load import load_windows
from cis490_pipeline.models.registry import restore
from cis490_pipeline.storage.files import read_json
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline_tests.experiment.runs import FAST, SAMPLE, copy_of, member, members_of

LABELS = [str(phase) for phase in PHASES]


@pytest.fixture(params=FAST, ids=lambda model: f"{model[0]}-{model[1]}")
def stage(finished: Workspace, request: pytest.FixtureRequest) -> EvaluationReport:
    return EvaluationReport(finished, Recipe.HOST, *request.param)


@pytest.fixture
def spoilt(finished: Workspace, tmp_path: Path) -> EvaluationReport:
    return EvaluationReport(copy_of(finished, tmp_path), Recipe.HOST, *FAST[0])


def report_of(stage: EvaluationReport) -> dict[str, Any]:
    report: dict[str, Any] = read_json(stage.workspace.paths.report_json(stage.recipe, stage.name))
    return report


def stored(stage: EvaluationReport) -> pl.DataFrame:
    return read_predictions(stage.checkpoint.folder)


def stored_file(stage: EvaluationReport) -> pl.DataFrame:
    return pl.read_parquet(stage.checkpoint.folder / "predictions.parquet")


def true_and_predicted(
    stage: EvaluationReport, side: str
) -> tuple[pl.Series, list[str], pl.DataFrame]:
    frame = stored(stage).filter(side=side)
    proba = frame.select([f"p_{label}" for label in LABELS]).to_numpy()
    return frame["y_true"], [LABELS[k] for k in proba.argmax(axis=1)], frame


def test_headline_is_scikit_learns_macro_f1_of_the_stored_predictions(
    stage: EvaluationReport,
) -> None:
    y_true, y_pred, _ = true_and_predicted(stage, "test")

    assert report_of(stage)["macro_f1"] == pytest.approx(
        f1_score(y_true, y_pred, average="macro", zero_division=0)
    )


def test_validation_score_is_scikit_learns(stage: EvaluationReport) -> None:
    y_true, y_pred, _ = true_and_predicted(stage, "val")

    assert report_of(stage)["val"]["macro_f1"] == pytest.approx(
        f1_score(y_true, y_pred, average="macro", zero_division=0)
    )


def test_score_of_each_phase_is_scikit_learns(stage: EvaluationReport) -> None:
    y_true, y_pred, _ = true_and_predicted(stage, "test")
    found = [row["f1"] for row in report_of(stage)["per_class"]]

    wanted = f1_score(y_true, y_pred, labels=LABELS, average=None, zero_division=0)
    np.testing.assert_allclose(found, wanted)


def test_confusion_and_accuracy_are_scikit_learns(stage: EvaluationReport) -> None:
    y_true, y_pred, _ = true_and_predicted(stage, "test")
    report = report_of(stage)

    assert report["accuracy"] == pytest.approx(accuracy_score(y_true, y_pred))
    assert report["confusion"] == {
        "labels": LABELS,
        "counts": confusion_matrix(y_true, y_pred, labels=LABELS).tolist(),
    }


def test_score_of_each_host_is_scikit_learns(stage: EvaluationReport) -> None:
    y_true, y_pred, frame = true_and_predicted(stage, "test")
    found = {row["host_id"]: row["macro_f1"] for row in report_of(stage)["per_host"]}

    scored = pl.DataFrame({"host": frame["host_id"], "true": y_true, "pred": y_pred})
    wanted = {
        host: f1_score(rows["true"], rows["pred"], average="macro", zero_division=0)
        for (host,), rows in scored.group_by("host")
    }
    assert found == pytest.approx(wanted)


def test_episodes_and_windows_are_counted(stage: EvaluationReport) -> None:
    _, _, frame = true_and_predicted(stage, "test")
    report = report_of(stage)

    assert (report["n_episodes"], report["n_windows"]) == (
        frame["episode_id"].n_unique(),
        frame.height,
    )


def test_score_lies_in_its_interval(stage: EvaluationReport) -> None:
    report = report_of(stage)

    assert report["ci_low"] < report["macro_f1"] < report["ci_high"]


def test_only_held_out_hosts_are_scored(stage: EvaluationReport) -> None:
    hosts = set(stored(stage).filter(side="test")["host_id"])

    assert hosts == {"garage-pi", "k-gamingcom", "lab-nuc"}


def test_no_window_that_touches_the_baseline_is_scored(stage: EvaluationReport) -> None:
    # Windows start every 5 s; the first that is clear of the first 15 s has index 3.
    assert stored(stage)["window_idx"].min() == 3


def test_windows_that_touch_the_baseline_are_stored_marked_and_scored_in_one_subset_only(
    stage: EvaluationReport,
) -> None:
    frame = stored_file(stage)
    touching = frame.filter("touches_baseline")
    rows = {row["subset"]: row for row in report_of(stage)["subsets"]}

    # Windows 0, 1 and 2 start before second 15; every episode has them.
    assert touching.group_by("episode_id").len()["len"].unique().to_list() == [3]
    assert set(touching["window_idx"]) == {0, 1, 2}
    n_on_test = touching.filter(side="test").height
    assert rows["with_baseline_windows"]["n_windows"] == rows["scored"]["n_windows"] + n_on_test
    assert rows["scored"]["macro_f1"] == report_of(stage)["macro_f1"]
    assert stage.predictions().equals(frame.filter(~pl.col("touches_baseline")))
    assert stage.predictions(include_baseline=True).equals(frame)


def test_other_windows_in_the_file_change_no_probability_of_the_scored(
    stage: EvaluationReport,
) -> None:
    checkpoint = stage.checkpoint.load()
    test = load_windows(
        stage.checkpoint.dataset.open(),
        Side.TEST,
        checkpoint.calibrator,
    )

    alone = restore(checkpoint).predict_windows(test)

    frame = stored(stage).filter(side="test")
    np.testing.assert_array_equal(probabilities(frame), alone.astype(np.float64))


def test_episode_whose_labels_nothing_justifies_is_not_scored(stage: EvaluationReport) -> None:
    assert "01M81B07537W74BWGH2DH2F1SA" not in set(stored(stage)["episode_id"])


def test_untested_profiles_are_named_in_the_report(stage: EvaluationReport) -> None:
    untested: dict[str, list[str]] = report_of(stage)["untested_profiles"]

    assert untested == {"k-gamingcom": ["scan-and-dial"], "lab-nuc": ["exfil-burst"]}


def test_second_time_nothing_is_made(stage: EvaluationReport) -> None:
    assert stage.ensure().why == "up to date"


def test_reporting_again_does_not_open_the_test_side_again(spoilt: EvaluationReport) -> None:
    parquet = spoilt.checkpoint.folder / "predictions.parquet"
    before = parquet.stat().st_mtime_ns

    record = spoilt.ensure(force=True).record

    assert record.numbers["n_test_openings"] == 1
    assert parquet.stat().st_mtime_ns == before


def test_reporting_again_gives_the_same_report(spoilt: EvaluationReport) -> None:
    before = report_of(spoilt)
    spoilt.ensure(force=True)

    assert report_of(spoilt) == before


def test_lost_predictions_are_made_again_and_counted(spoilt: EvaluationReport) -> None:
    before = stored(spoilt)
    (spoilt.checkpoint.folder / "predictions.parquet").unlink()

    record = spoilt.ensure().record

    assert record.numbers["n_test_openings"] == 2
    assert stored(spoilt).equals(before)


def test_edited_report_is_made_good(spoilt: EvaluationReport) -> None:
    path = spoilt.workspace.paths.report_json(Recipe.HOST, spoilt.name)
    before = path.read_text()
    path.write_text(before.replace('"macro_f1": 0.', '"macro_f1": 1.'))

    spoilt.ensure()

    assert path.read_text() == before


def test_without_a_checkpoint_it_says_what_to_make_first(spoilt: EvaluationReport) -> None:
    spoilt.checkpoint.record_path.unlink()

    with pytest.raises(DatasetError, match="make dataset/validation_index and model/gbt/realistic"):
        spoilt.ensure()


def test_the_stored_alarm_is_the_reports_and_was_fitted_on_validation_alone(
    stage: EvaluationReport,
) -> None:
    settings = AlarmSettings.from_dict(read_json(stage.checkpoint.folder / "alarm.json"))
    inputs = alarm_inputs(stage.workspace, stage.recipe, stage.checkpoint.dataset.open())
    val = alarm_windows(stored(stage).filter(side="val"), inputs.truth)

    assert settings.to_dict() == report_of(stage)["detection"]["alarm"]["settings"]
    assert settings.fitted_on["val_digest"] == val.digest
    assert settings.fitted_on["train_digest"] == inputs.sequences.digest


def test_an_infection_begins_with_its_row_in_the_labels(stage: EvaluationReport) -> None:
    test = stored(stage).filter(side="test")
    inputs = alarm_inputs(stage.workspace, stage.recipe, stage.checkpoint.dataset.open())
    windows = alarm_windows(test, inputs.truth)
    began = {}
    for host, name in test.select("host_id", "episode_id").unique().rows():
        members = members_of(LocalStore(SAMPLE), EpisodeRef(host, name))
        lines = members[member(members, "labels.jsonl")].splitlines()
        labels = [json.loads(line) for line in lines]
        times = [row["t_wall_ns"] for row in labels if row["phase"] == "infecting"]
        began[name] = (times[0] - labels[0]["t_wall_ns"]) / 1e9 if times else math.nan

    onsets = dict(zip(windows.episode_ids, windows.onset_s.tolist(), strict=True))
    assert onsets == {name: pytest.approx(t, nan_ok=True) for name, t in began.items()}
    assert report_of(stage)["detection"]["time_to_detection"]["n_infected"] == sum(
        math.isfinite(t) for t in began.values()
    )

"""A checkpoint read with each host's own record: predictions, alarm, and what is missing."""

from dataclasses import replace

import msgspec
import numpy as np
import polars as pl
import pytest

from cis490_pipeline.alarm.alarm import AlarmSettings
from cis490_pipeline.domain import Architecture, Recipe, Side, Variant
from cis490_pipeline.evaluation.detection.fit import HOURLY
from cis490_pipeline.evaluation.detection.windows import alarm_windows
from cis490_pipeline.evaluation.predictions import PROBABILITY_COLUMNS, read_predictions
from cis490_pipeline.evaluation.schema.report import EvalReport
from cis490_pipeline.experiment.pipeline.alarm_inputs import alarm_inputs
from cis490_pipeline.experiment.pipeline.calibration import host_records
from cis490_pipeline.experiment.pipeline.corpus import GridShards
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.calibration.calibrator import CalibrationMode
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.models.registry import restore
from cis490_pipeline.storage.files import read_json
from cis490_pipeline_tests.experiment.runs import THINKPAD, copy_of

HOST = Recipe.HOST
EARLIEST = "01M8196P6WMETG984GH1TQW1NC"
"""The first clean-only episode of elliott-thinkpad."""


@pytest.fixture(scope="module")
def evaluated(finished, tmp_path_factory):
    """A report with the episode named that calibrates a host: with both calibrations."""
    workspace = copy_of(finished, tmp_path_factory.mktemp("by host"))
    settings = replace(workspace.settings, calibrate_on={THINKPAD: EARLIEST})
    stage = EvaluationReport(Workspace(settings), HOST, Architecture.GBT, Variant.REALISTIC)
    assert stage.current() is None
    stage.ensure()
    return stage


@pytest.fixture(scope="module")
def report(evaluated):
    return read_json(evaluated.report_path)


@pytest.fixture(scope="module")
def by_host(evaluated):
    return read_predictions(evaluated.checkpoint.folder / "host_baseline")


def test_without_a_named_episode_a_report_has_episode_baselines_alone(finished, report):
    stage = EvaluationReport(finished, HOST, Architecture.GBT, Variant.REALISTIC)

    plain = read_json(stage.report_path)
    assert "host_baseline" not in plain
    assert not (stage.checkpoint.folder / "host_baseline").exists()
    assert {key: report[key] for key in plain if key != "n_test_openings"} == {
        key: value for key, value in plain.items() if key != "n_test_openings"
    }


def test_the_account_is_of_the_reports_form(report):
    assert msgspec.convert(report, EvalReport) == report
    assert report["host_baseline"]["why"] is None
    assert report["host_baseline"]["hosts_without"] == {}
    assert report["host_baseline"]["n_test_openings"] == 1


def test_predictions_are_the_checkpoints_with_the_records_in_place_of_baselines(evaluated, by_host):
    records = host_records(evaluated.workspace, HOST).found
    checkpoint = evaluated.checkpoint.load()
    calibrator = checkpoint.calibrator
    frame = by_host.filter(side="test")
    ids = dict(zip(frame["host_id"], frame["calibration_id"], strict=True))
    assert ids == {host: records[host].id for host in ids}

    from cis490_pipeline.features.datasets.load import load_windows

    raw = load_windows(evaluated.checkpoint.dataset.open(), Side.TEST, calibrator)
    row = raw.frame.with_row_index().row(
        by_predicate=(pl.col("episode_id") == frame["episode_id"][7])
        & (pl.col("window_idx") == frame["window_idx"][7]),
        named=True,
    )
    median, iqr = records[row["host_id"]].of_variant(Variant.REALISTIC)
    window = calibrator.apply(raw._raw.take(np.array([row["index"]])), median, iqr)
    wanted = restore(checkpoint).predict_proba(window)[0]
    np.testing.assert_allclose(frame.select(PROBABILITY_COLUMNS).row(7), wanted, atol=1e-6)


def test_an_episode_that_calibrates_a_host_is_not_scored_and_all_others_are(
    evaluated, report, by_host
):
    own = evaluated.predictions()
    account = report["host_baseline"]

    calibrating = {record["episode_id"] for record in account["records"]}
    assert EARLIEST in calibrating
    assert set(account["excluded"]) == calibrating & set(own["episode_id"]) != set()
    assert set(by_host["episode_id"]) == set(own["episode_id"]) - calibrating
    windows = [row["test"]["n_windows"] for row in account["rows"]]
    assert windows == [by_host.filter(side="test").height] * 2


def test_the_alarm_that_a_device_runs_was_fitted_on_validation_with_records(
    evaluated, report, by_host
):
    stored = read_json(evaluated.checkpoint.folder / "alarm.json")
    settings = AlarmSettings.from_dict(stored)
    inputs = alarm_inputs(evaluated.workspace, HOST, evaluated.checkpoint.dataset.open())
    val = alarm_windows(by_host.filter(side="val"), inputs.truth)
    detection = report["host_baseline"]["detection"]

    assert settings.to_dict() == detection["alarm"]["settings"]
    assert settings.fitted_on["val_digest"] == val.digest
    assert settings.fitted_on["calibration"] == CalibrationMode.HOST_BASELINE
    assert HOURLY.text in detection["alarm"]["rule"]
    assert "calibration" not in report["detection"]["alarm"]["settings"]["fitted_on"]


def test_lengths_that_a_clean_run_does_not_have_are_not_compared(report):
    whole, minute, *longer = report["host_baseline"]["lengths"]

    assert (whole["seconds"], minute["seconds"]) == (None, 60)
    assert minute["shortest_s"] == 60 < whole["shortest_s"]
    assert minute["val"]["n_windows"] == whole["val"]["n_windows"]
    assert minute["val"]["macro_f1"] is not None
    for row, seconds in zip(longer, (150, 300), strict=True):
        assert (row["seconds"], row["val"]) == (seconds, None)
        assert f"{seconds} s asked for, wanted 15 to" in row["why"]


def test_clean_time_that_the_cleanliness_check_flags_is_counted_by_host(report, evaluated):
    rows = report["host_baseline"]["flagged_clean"]
    check = evaluated.checkpoint.load().cleanliness
    grids = GridStore(GridShards(evaluated.workspace).folder)
    frame = evaluated.predictions().filter(side="test", host_id="garage-pi")

    judged = []
    for episode_id in frame["episode_id"].unique():
        row = grids.frame.row(by_predicate=pl.col("episode_id") == episode_id, named=True)
        grid, clean_s = grids.grid(episode_id), 1e9
        for t_ns, phase in zip(row["label_t_wall_ns"], row["label_phase"], strict=True):
            if phase != "clean":
                clean_s = min(clean_s, (t_ns - row["t0_wall_ns"]) / 1e9)
        n = int(min(clean_s, len(grid) / 10) // 15)
        judged += [check.judge(grid[150 * k : 150 * (k + 1)]).suspect for k in range(n)]

    (found,) = [row for row in rows if row["host_id"] == "garage-pi"]
    assert (found["side"], found["n"], found["n_flagged"]) == ("test", len(judged), sum(judged))
    for side in ("val", "test"):
        whole, *hosts = [row for row in rows if row["side"] == side]
        assert whole["host_id"] is None
        assert whole["n"] == sum(row["n"] for row in hosts)
        assert whole["n_flagged"] == sum(row["n_flagged"] for row in hosts)


def test_a_host_without_a_clean_run_is_named_and_nothing_is_measured(evaluated):
    account = evaluated._by_host(evaluated.predictions())
    records = account.records
    without = {host: record for host, record in records.found.items() if host != "garage-pi"}
    account.__dict__["records"] = replace(records, found=without, refused={"garage-pi": "no run"})

    made = account.make(None, seed=0)

    assert made["why"] == "n/a: no clean record of garage-pi"
    assert made["hosts_without"] == {"garage-pi": "no run"}
    assert (made["rows"], made["detection"]) == ([], None)

"""A host's record from the store, and what predictions say of their baselines."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cis490_pipeline.domain import Architecture, Recipe, Side, Variant
from cis490_pipeline.errors import CalibrationError
from cis490_pipeline.evaluation.predictions import read_predictions
from cis490_pipeline.experiment.pipeline.calibration import (
    calibrate_host,
    fitted_check,
    host_records,
)
from cis490_pipeline.experiment.pipeline.corpus import GridShards
from cis490_pipeline.experiment.pipeline.dataset import TensorShards
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.calibration.calibrator import CalibrationMode
from cis490_pipeline.features.calibration.cleanliness import checked_baselines
from cis490_pipeline.features.channels import channel_indices
from cis490_pipeline.features.datasets.load import fit_calibrator, load_windows
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.storage.files import read_json, write_json
from cis490_pipeline_tests.experiment.runs import SIX, THINKPAD, copy_of

HOST = Recipe.HOST
EARLIEST = "01M8196P6WMETG984GH1TQW1NC"
"""The first clean-only episode of elliott-thinkpad."""
BY_HOST = CalibrationMode.HOST_BASELINE


def grid_of(workspace, episode_id):
    return GridStore(GridShards(workspace).folder).grid(episode_id)


@pytest.fixture(scope="module")
def records(finished):
    return host_records(finished, HOST)


def test_a_host_is_calibrated_by_all_of_its_earliest_clean_only_episode(finished):
    record = calibrate_host(finished, HOST, THINKPAD)

    grid = grid_of(finished, EARLIEST)
    (part,) = record.telemetry
    assert part.episode_id == EARLIEST
    assert record.duration_s == pytest.approx(len(grid) / 10) == pytest.approx(part.duration_s)
    median, _ = record.arrays()
    np.testing.assert_allclose(median, np.nanmedian(grid, axis=0), atol=1e-6)
    index = pl.read_parquet(finished.paths.validation_index(HOST))
    shipped = index.filter(episode_id=EARLIEST)["sha256"].item()
    assert part.content == shipped
    assert record.labelled_clean
    assert record.unchecked is None


def test_the_settings_name_the_episode_that_calibrates_a_host(finished):
    index = pl.read_parquet(finished.paths.validation_index(HOST))
    clean = index.filter(pl.col("profile").is_null(), host_id=THINKPAD)["episode_id"].sort()
    other = clean.filter(clean != EARLIEST)[0]
    named = Workspace(replace(finished.settings, calibrate_on={THINKPAD: other}))

    assert calibrate_host(named, HOST, THINKPAD).telemetry[0].episode_id == other
    assert other in host_records(named, HOST).episodes
    assert EARLIEST not in host_records(named, HOST).episodes
    explicit = calibrate_host(named, HOST, THINKPAD, episode_id=EARLIEST)
    assert explicit.telemetry[0].episode_id == EARLIEST


def test_the_same_telemetry_gives_the_same_record(finished):
    assert calibrate_host(finished, HOST, THINKPAD) == calibrate_host(finished, HOST, THINKPAD)


def test_of_a_named_episode_with_a_sample_only_the_first_fifteen_seconds_count(finished):
    record = calibrate_host(finished, HOST, SIX[0].host_id, episode_id=SIX[0].episode_id)

    assert record.duration_s == 15
    assert record.labelled_clean


def test_a_baseline_that_reaches_into_the_infection_is_suspect_by_its_labels(finished):
    grid = grid_of(finished, SIX[0].episode_id)
    whole = len(grid) / 10

    plain, accepted = (
        calibrate_host(
            finished,
            HOST,
            SIX[0].host_id,
            episode_id=SIX[0].episode_id,
            first_s=whole,
            accept_unclean=accept,
        )
        for accept in (False, True)
    )

    assert (plain.suspect, plain.accepted_unclean) == (True, False)
    assert (accepted.suspect, accepted.accepted_unclean) == (True, True)
    assert plain.id != accepted.id


@pytest.mark.parametrize(
    ("host", "options", "problem"),
    [
        ("nobody", {}, "no usable episode of host 'nobody'; there are elliott-thinkpad, garage-pi"),
        (THINKPAD, {"episode_id": "01M8" + "0" * 22}, "has no usable episode '01M80"),
        (THINKPAD, {"first_s": 14.0}, "14 s asked for, wanted 15 to"),
        (THINKPAD, {"first_s": 900.0}, "900 s asked for, wanted 15 to"),
    ],
)
def test_what_is_no_baseline_is_refused(finished, host, options, problem):
    with pytest.raises(CalibrationError, match=problem):
        calibrate_host(finished, HOST, host, **options)


@pytest.fixture
def without_clean_runs(finished, tmp_path):
    """The recorded sample without its clean-only episodes, and with ten to train on."""
    workspace = copy_of(finished, tmp_path)
    path = workspace.paths.validation_index(HOST)
    index = pl.read_parquet(path).filter(pl.col("profile").is_not_null())
    train = index.filter(pl.col("side") == Side.TRAIN).head(10)
    pl.concat([train, index.filter(pl.col("side") != Side.TRAIN)]).write_parquet(path)
    return workspace


def test_a_host_without_a_clean_only_episode_is_refused_by_name(without_clean_runs):
    with pytest.raises(CalibrationError, match="garage-pi has no sound clean-only episode among"):
        calibrate_host(without_clean_runs, HOST, "garage-pi")

    records = host_records(without_clean_runs, HOST)
    assert records.found == {}
    assert sorted(records.refused) == ["elliott-thinkpad", "garage-pi", "k-gamingcom", "lab-nuc"]


def test_too_small_a_store_says_that_nothing_was_checked(without_clean_runs):
    check, said = fitted_check(without_clean_runs, HOST)
    record = calibrate_host(without_clean_runs, HOST, "garage-pi", episode_id=SIX[4].episode_id)

    assert check is None
    assert said.startswith("no cleanliness check: 10 episodes begin with a clean stretch")
    assert record.unchecked == said
    assert not record.suspect


def test_every_recorded_host_has_a_record_and_its_episode_a_role(finished, records):
    assert sorted(records.found) == ["elliott-thinkpad", "garage-pi", "k-gamingcom", "lab-nuc"]
    assert records.refused == {}
    assert len(records.episodes) == 4
    assert EARLIEST in records.episodes


@pytest.mark.parametrize("variant", Variant)
def test_windows_of_a_host_are_measured_against_its_record(finished, records, variant):
    dataset = TensorShards(finished, HOST).open()
    calibrator = fit_calibrator(dataset, variant, BY_HOST, records=records.found)
    windows = load_windows(dataset, Side.TEST, calibrator, records=records.found)

    rows = np.array([0, len(windows) // 2, len(windows) - 1])
    for row, found in zip(rows, windows.take(rows), strict=True):
        keys = windows.frame.row(int(row), named=True)
        record = records.found[keys["host_id"]]
        start = int(keys["window_idx"]) * 50
        raw = grid_of(finished, keys["episode_id"])[start : start + 100, channel_indices(variant)]
        median, iqr = record.of_variant(variant)
        wanted = calibrator.apply(raw.T[None], median, iqr)[0]
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        assert windows.calibration_ids[int(row)] == record.id


def test_windows_measured_against_an_unclean_record_say_so(finished, records):
    unclean = calibrate_host(
        finished,
        HOST,
        THINKPAD,
        episode_id=SIX[0].episode_id,
        first_s=60.0,
        accept_unclean=True,
    )
    dataset = TensorShards(finished, HOST).open()
    taken = {**records.found, THINKPAD: unclean}
    calibrator = fit_calibrator(dataset, Variant.REALISTIC, BY_HOST, records=taken)

    val = load_windows(dataset, Side.VAL, calibrator, records=taken)

    assert unclean.suspect
    assert set(val.frame["host_id"]) == {THINKPAD}
    assert val.baseline_suspect.all()
    assert set(val.calibration_ids) == {unclean.id}


def test_windows_of_a_host_without_a_record_are_refused_by_name(finished, records):
    dataset = TensorShards(finished, HOST).open()
    train_alone = {THINKPAD: records.found[THINKPAD]}
    calibrator = fit_calibrator(dataset, Variant.ORACLE, BY_HOST, records=train_alone)

    with pytest.raises(CalibrationError, match="no calibration record of garage-pi, k-gamingcom"):
        load_windows(dataset, Side.TEST, calibrator, records=train_alone)


def test_another_hosts_record_is_refused(finished, records):
    dataset = TensorShards(finished, HOST).open()
    swapped = {THINKPAD: records.found["garage-pi"]}

    with pytest.raises(CalibrationError, match="given for elliott-thinkpad is of garage-pi"):
        fit_calibrator(dataset, Variant.ORACLE, BY_HOST, records=swapped)


def test_a_prediction_says_what_it_was_measured_against_and_whether_that_is_suspect(finished):
    stage = TrainedCheckpoint(finished, HOST, Architecture.GBT, Variant.REALISTIC)
    frame = read_predictions(stage.folder)
    check = stage.load().cleanliness

    assert check is not None
    assert (frame["calibration_id"] == "episode:" + frame["episode_id"]).all()
    grids = GridStore(GridShards(finished).folder)
    said = checked_baselines(grids, check, frame["episode_id"].to_list())
    for episode_id, suspect in frame.select("episode_id", "baseline_suspect").unique().iter_rows():
        judged = check.judge(grids.grid(episode_id)[:150])
        assert judged == said[episode_id]
        assert suspect == (judged.suspect if judged else None)


def test_flagged_baselines_are_counted_in_the_report(finished):
    stage = EvaluationReport(finished, HOST, Architecture.GBT, Variant.REALISTIC)
    frame = stage.predictions().filter(pl.col("side") == Side.TEST)
    record = stage.record()

    flagged = frame.filter(pl.col("baseline_suspect"))["episode_id"].unique()
    assert record.numbers["suspect_baselines"] == len(flagged)
    assert record.numbers["checked_baselines"] == frame["episode_id"].n_unique()


def test_the_check_is_fitted_on_train_alone(finished):
    check, said = fitted_check(finished, HOST)
    index = pl.read_parquet(finished.paths.validation_index(HOST))
    n_train = index.filter(pl.col("side") == Side.TRAIN).height

    assert check.references.size == n_train == 25
    assert said.endswith("of 1 host")
    stored = TrainedCheckpoint(finished, HOST, Architecture.MLP, Variant.ORACLE).load()
    assert stored.cleanliness.digest == check.digest


def test_older_predictions_are_made_again(finished, tmp_path):
    workspace = copy_of(finished, tmp_path)
    stage = EvaluationReport(workspace, HOST, Architecture.GBT, Variant.REALISTIC)
    path = stage.checkpoint.folder / "predictions.json"
    before = read_json(path)
    write_json(path, {key: value for key, value in before.items() if key != "version"})

    assert stage.predictions().equals(read_predictions(stage.checkpoint.folder))
    assert read_json(path)["n_test_openings"] == before["n_test_openings"] + 1


def test_another_way_to_calibrate_is_another_training(finished, monkeypatch):
    stage = TrainedCheckpoint(finished, HOST, Architecture.GBT, Variant.REALISTIC)
    assert stage.outdated() is None

    monkeypatch.setattr("cis490_pipeline.experiment.pipeline.training.GAUGES", "centred")

    assert stage.outdated() == "changed: training"

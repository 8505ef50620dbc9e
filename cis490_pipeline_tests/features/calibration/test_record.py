"""A host's calibration, written down."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cis490_pipeline.domain import Variant
from cis490_pipeline.errors import CalibrationError, SchemaMismatchError
from cis490_pipeline.features.baseline import Baseline, baseline_statistics, span_statistics
from cis490_pipeline.features.calibration.cleanliness import Cleanliness
from cis490_pipeline.features.calibration.record import (
    CalibrationRecord,
    Telemetry,
    channel_baselines,
    read_record,
    write_record,
)
from cis490_pipeline.features.channels import channel_indices
from cis490_pipeline.features.schema import grid_schema

START_NS = 1_790_000_000_000_000_000


def grid(n_steps=400, seed=0):
    x = np.random.default_rng(seed).normal(5, 1, (n_steps, 46)).astype(np.float32)
    x[::3, 4] = np.nan
    x[:, 9] = np.nan
    return x


def record(**changes):
    parts = {
        "host_id": "garage-pi",
        "telemetry": (
            Telemetry(
                episode_id="01M81A6WGFM8GQC9JKA494KSSQ",
                content="c" * 64,
                start_ns=START_NS,
                end_ns=START_NS + 40 * 10**9,
            ),
        ),
        "duration_s": 40.0,
        "channels": channel_baselines(span_statistics(grid())),
        "cleanliness": Cleanliness(
            score=-1.5, p_value=0.4, suspect=False, level=0.05, n_references=30, check="a" * 64
        ),
        "unchecked": None,
        "labelled_clean": True,
        "accepted_unclean": False,
        "schema": grid_schema().to_dict(),
    }
    return CalibrationRecord(**(parts | changes))


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "calibrations" / "garage-pi.json"
    write_record(path, record())
    return path


def edit(path, change):
    saved = json.loads(path.read_bytes())
    change(saved)
    path.write_text(json.dumps(saved))


def test_statistics_are_numpys_over_all_of_the_telemetry():
    x = grid()

    found = span_statistics(x)

    for c in set(range(46)) - {9}:
        known = x[~np.isnan(x[:, c]), c].astype(np.float64)
        low, median, high = np.percentile(known, [25, 50, 75])
        assert found.median[c] == pytest.approx(median, abs=1e-6)
        assert found.iqr[c] == pytest.approx(high - low, abs=1e-6)
        assert found.n_known[c] == known.size
    assert np.isnan(found.median[9])
    assert found.n_known[9] == 0


def test_the_first_fifteen_seconds_are_the_episodes_own_baseline():
    median, iqr = baseline_statistics(grid())
    first = span_statistics(grid()[:150])

    np.testing.assert_array_equal(median, first.median)
    np.testing.assert_array_equal(iqr, first.iqr)


def test_less_than_fifteen_seconds_are_refused():
    with pytest.raises(CalibrationError, match=r"takes 150 steps .15 s., the grid has 149"):
        span_statistics(grid(149))


def test_a_record_comes_back_as_it_was(written):
    found = read_record(written)

    assert found == record()
    assert found.id == record().id == json.loads(written.read_bytes())["id"]
    wanted = span_statistics(grid())
    for variant in Variant:
        median, iqr = found.of_variant(variant)
        np.testing.assert_array_equal(median, wanted.median[channel_indices(variant)])
        np.testing.assert_array_equal(iqr, wanted.iqr[channel_indices(variant)])


def test_another_median_is_another_record():
    other = span_statistics(grid(seed=1))

    assert record(channels=channel_baselines(other)).id != record().id


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["channels"][0].update(median=9.0),
        lambda r: r.update(host_id="lab-nuc"),
        lambda r: r["cleanliness"].update(suspect=True),
        lambda r: r.update(accepted_unclean=True),
        lambda r: r.pop("id"),
    ],
)
def test_a_tampered_record_is_refused(written, change):
    edit(written, change)

    with pytest.raises(CalibrationError, match=r"garage-pi\.json: says id .* it was changed"):
        read_record(written)


def test_a_record_of_other_features_is_refused_with_the_first_difference(tmp_path):
    schema = grid_schema().to_dict()
    schema["channels"] = [dict(c) for c in schema["channels"]]
    schema["channels"][3]["kind"] = "gauge"
    path = tmp_path / "old.json"
    write_record(path, record(schema=schema))

    with pytest.raises(
        SchemaMismatchError, match=r"channel 3 .proc.major_faults. kind was 'gauge'"
    ):
        read_record(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not JSON"),
        ("[]", "no calibration record"),
        ('{"format": "leaderboard"}', "no calibration record"),
        ('{"format": "calibration_record", "version": 9}', "version is 9, this code reads 1"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path, content, problem):
    path = tmp_path / "x.json"
    path.write_text(content)

    with pytest.raises(CalibrationError, match=problem):
        read_record(path)


def test_a_missing_record_is_refused(tmp_path):
    with pytest.raises(CalibrationError, match=r"no calibration record to read: .*no such file"):
        read_record(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"duration_s": 14.9}, "14.9 s of telemetry, wanted 15 s"),
        ({"telemetry": ()}, "names no telemetry"),
        ({"cleanliness": None}, "either what the check found or why"),
        ({"channels": record().channels[:-1]}, "channels are 45 and not the registry's 46"),
    ],
)
def test_a_record_that_says_nothing_is_refused(changes, problem):
    with pytest.raises(CalibrationError, match=problem):
        record(**changes)


def test_a_record_takes_all_channels():
    few = Baseline(np.zeros(29, "f4"), np.zeros(29, "f4"), np.zeros(29, "i8"))

    with pytest.raises(CalibrationError, match=r"takes all 46 channels, got \(29,\)"):
        channel_baselines(few)


def test_a_record_is_suspect_by_its_labels_or_by_the_check():
    flagged = replace(record().cleanliness, suspect=True)

    assert not record().suspect
    assert record(labelled_clean=False).suspect
    assert record(cleanliness=flagged).suspect
    assert not record(cleanliness=None, unchecked="too few episodes").suspect

import json

import numpy as np
import pytest

from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.errors import CalibrationError, SchemaMismatchError
from cis490_pipeline.live.engine import LiveEngine
from cis490_pipeline.live.kept_calibration import (
    FILE,
    CalibrationKeeper,
    KeptCalibration,
    keep_calibration,
    kept_calibration,
)
from cis490_pipeline.live.outputs.reports import Faults
from cis490_pipeline_tests.checkpoints.made_up import make_cleanliness
from cis490_pipeline_tests.live.made_up import device_rows, make_model
from cis490_pipeline_tests.store.episodes import T0_NS

S = NS_PER_S


def watched(duration_s, baseline=None, sources=(Source.GUEST, Source.NETFLOW)):
    """An engine that was fed a device's first seconds, and its windows."""
    engine = LiveEngine(
        [make_model()], baseline=baseline, check=make_cleanliness(), start_ns=lambda: T0_NS
    )
    reports = [
        report
        for row in device_rows(duration_s, sources=sources)
        for report in engine.feed(row, row.t_wall_ns - T0_NS)
    ]
    return engine, reports


def test_a_restart_goes_on_with_the_calibration_that_was_kept(tmp_path):
    engine, before = watched(60)
    keeper = CalibrationKeeper(tmp_path, None)
    keeper.state(engine.state(60 * S), Faults(), changed=False)

    kept = kept_calibration(tmp_path)
    _, after = watched(60, kept.baseline)

    assert (after[0].window_idx, before[0].window_idx) == (0, 3)
    same = {r.window_idx: r.outputs[0].probabilities for r in after}
    for report in before:
        np.testing.assert_array_equal(report.outputs[0].probabilities, same[report.window_idx])
    assert kept.baseline.cleanliness == engine.state(60 * S).baseline.cleanliness
    assert kept.taken_at_ns == T0_NS + 60 * S


def test_a_source_that_came_late_is_kept_too(tmp_path):
    engine, _ = watched(20, sources=(Source.NETFLOW,))
    keeper = CalibrationKeeper(tmp_path, None)
    keeper.state(engine.state(20 * S), Faults(), changed=False)
    without = kept_calibration(tmp_path).baseline.unknown_sources

    engine, _ = watched(60)
    keeper.state(engine.state(60 * S), Faults(), changed=False)

    assert Source.GUEST in without
    assert Source.GUEST not in kept_calibration(tmp_path).baseline.unknown_sources


def test_a_calibration_that_cannot_be_kept_is_told_and_kept_later(tmp_path):
    engine, _ = watched(20)
    folder = tmp_path / "state"
    folder.write_text("a file stands in the way")
    keeper = CalibrationKeeper(folder, None)

    keeper.state(engine.state(20 * S), Faults(), changed=False)
    trouble = keeper.report().trouble
    folder.unlink()
    keeper.state(engine.state(21 * S), Faults(), changed=False)

    assert trouble.startswith("the calibration cannot be stored: ")
    assert keeper.report().trouble is None
    assert kept_calibration(folder) is not None


def test_nothing_kept_is_no_error(tmp_path):
    assert kept_calibration(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.update(version=9), "another version"),
        (lambda c: c["channels"][0].update(median=3.0), "damaged, changed"),
        (lambda c: c.update(format="x"), "no calibration of a live device"),
        (lambda c: c.clear(), "no calibration of a live device"),
    ],
)
def test_a_damaged_calibration_is_refused_and_not_taken_again(tmp_path, change, told):
    engine, _ = watched(20)
    keep_calibration(
        tmp_path, KeptCalibration(baseline=engine.state(20 * S).baseline, taken_at_ns=1)
    )
    content = json.loads((tmp_path / FILE).read_text())
    change(content)
    (tmp_path / FILE).write_text(json.dumps(content))

    with pytest.raises(CalibrationError, match=f"{told}.*remove it to calibrate the device again"):
        kept_calibration(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)

    with pytest.raises(CalibrationError, match="remove it to calibrate the device again"):
        kept_calibration(tmp_path)


def test_a_calibration_of_other_features_is_refused(tmp_path):
    from cis490_pipeline.storage.files import digest

    engine, _ = watched(20)
    keep_calibration(
        tmp_path, KeptCalibration(baseline=engine.state(20 * S).baseline, taken_at_ns=1)
    )
    content = json.loads((tmp_path / FILE).read_text())
    content["schema"]["channels"] = content["schema"]["channels"][1:]
    del content["digest"]
    content["digest"] = digest(content)
    (tmp_path / FILE).write_text(json.dumps(content))

    with pytest.raises(SchemaMismatchError):
        kept_calibration(tmp_path)

from dataclasses import replace

import numpy as np
import pytest

from cis490_pipeline.domain import NS_PER_S
from cis490_pipeline.errors import CalibrationError
from cis490_pipeline.features.calibration.record import read_record, write_record
from cis490_pipeline.live.engine import LiveEngine
from cis490_pipeline.live.feeds.feed import Feed
from cis490_pipeline.live.live_record import record_of_feed
from cis490_pipeline.live.loading import LoadedModels
from cis490_pipeline_tests.live.made_up import device_rows, make_model
from cis490_pipeline_tests.store.episodes import T0_NS


class Rows(Feed):
    """All rows of a made-up device, a hundred at a time."""

    def __init__(self, seconds):
        super().__init__()
        self._rows = list(device_rows(seconds))

    @property
    def name(self):
        return "made up"

    @property
    def pace(self):
        return 0.0

    def start_ns(self):
        return T0_NS

    def poll(self, wait_s):
        some, self._rows = self._rows[:100], self._rows[100:]
        self.ended = not self._rows
        return some


@pytest.fixture
def loaded():
    return LoadedModels(models=[make_model()], check=None, runnable=[])


def test_a_record_of_live_rows_is_the_baseline_that_live_would_learn(loaded, tmp_path):
    said = []

    record = record_of_feed(Rows(70), loaded, host_id="pi", seconds=60, say=said.append)

    engine = LiveEngine([make_model()], start_ns=lambda: T0_NS, learn_s=60)
    for row in device_rows(70):
        engine.feed(row, row.t_wall_ns - T0_NS)
    median, iqr = record.arrays()
    np.testing.assert_array_equal(median, engine.state(70 * NS_PER_S).baseline.median)
    np.testing.assert_array_equal(iqr, engine.state(70 * NS_PER_S).baseline.iqr)
    assert (record.host_id, record.duration_s, record.labelled_clean) == ("pi", 60.0, True)
    assert record.telemetry[0].duration_s == 60.0
    assert record.unchecked == "the models have no check"
    write_record(tmp_path / "record.json", record)
    assert read_record(tmp_path / "record.json").id == record.id
    assert replace(record, accepted_unclean=True).id != record.id


def test_rows_that_end_too_early_give_no_record(loaded):
    with pytest.raises(CalibrationError, match="60 s of rows were wanted, they ended before"):
        record_of_feed(Rows(50), loaded, host_id="pi", seconds=60, say=print)


def test_a_stop_gives_no_record(loaded):
    with pytest.raises(CalibrationError, match="they ended before"):
        record_of_feed(Rows(70), loaded, host_id="pi", seconds=60, say=print, stop=lambda: True)

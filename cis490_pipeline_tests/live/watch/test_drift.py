import numpy as np
import pytest

from cis490_pipeline.domain import Variant
from cis490_pipeline.features.channels import channel_indices, channel_names
from cis490_pipeline.live.calibration import Baseline
from cis490_pipeline.live.watch.drift import HOUR_NS, DriftMonitor

CHANNELS = channel_indices(Variant.REALISTIC)
FLOOR = np.full(CHANNELS.size, 0.1, dtype=np.float32)
WINDOWS = 60


def make_baseline(iqr=0.5):
    values = np.full(46, 1.0, dtype=np.float32), np.full(46, iqr, dtype=np.float32)
    return Baseline(median=values[0], iqr=values[1], id="b", cleanliness=None, labelled_clean=None)


def said_in(hours, level, channels=CHANNELS, baseline=None, monitor=None, first=0):
    """What the monitor says in some hours of noise around a level in some channels."""
    rng = np.random.default_rng(first)
    if monitor is None:
        monitor = DriftMonitor(CHANNELS, FLOOR)
        monitor.use(baseline or make_baseline())
    said = []
    for hour in range(first, first + hours):
        for k in range(WINDOWS):
            grid = rng.normal(1.0, 0.4, size=(20, 46)).astype(np.float32)
            grid[:, channels] += np.float32(level)
            t_ns = round((hour + k / WINDOWS) * HOUR_NS)
            said.append(monitor.add(grid, t_ns))
    return [text for text in said if text is not None], monitor


def test_a_day_of_the_same_noise_is_no_drift():
    said, monitor = said_in(26, 0.0)

    assert said == []
    assert np.abs(monitor.shift()).max() < 0.1


def test_a_day_that_moved_by_four_spreads_is_said_once_with_the_channels():
    said, monitor = said_in(12, 2.0)

    assert len(said) == 1
    assert said[0].startswith(f"drifted: {CHANNELS.size} of {CHANNELS.size} channels")
    assert monitor.shift() == pytest.approx(np.full(CHANNELS.size, 4.0), abs=0.1)


def test_a_few_moved_channels_are_no_drift_and_a_fifth_is():
    few = CHANNELS[: CHANNELS.size // 5 - 1]
    fifth = CHANNELS[: CHANNELS.size // 5 + 1]

    assert said_in(10, 2.0, few)[0] == []
    said = said_in(10, 2.0, fifth)[0]
    assert len(said) == 1
    assert any(channel_names(Variant.ORACLE)[i] in said[0] for i in fifth)


def test_bursts_that_leave_the_median_are_no_drift():
    monitor = DriftMonitor(CHANNELS, FLOOR)
    monitor.use(make_baseline())
    grid = np.full((100, 46), 1.0, dtype=np.float32)
    grid[:40] = 9.0

    assert [monitor.add(grid, k * HOUR_NS // 100) for k in range(1200)] == [None] * 1200


def test_a_new_baseline_starts_from_nothing():
    _, monitor = said_in(12, 2.0)

    monitor.use(make_baseline())

    assert np.isnan(monitor.shift()).all()


@pytest.mark.long
def test_a_return_to_what_was_learnt_allows_a_second_report():
    said, monitor = said_in(12, 2.0)
    said_in(30, 0.0, monitor=monitor, first=12)

    again, _ = said_in(30, 2.0, monitor=monitor, first=42)

    assert len(said) == len(again) == 1


def test_unknown_channels_are_not_counted():
    monitor = DriftMonitor(CHANNELS, FLOOR)
    monitor.use(make_baseline())
    grid = np.full((100, 46), np.nan, dtype=np.float32)
    said = [monitor.add(grid, k * HOUR_NS // 100) for k in range(1200)]

    assert said == [None] * 1200
    assert np.isnan(monitor.shift()).all()

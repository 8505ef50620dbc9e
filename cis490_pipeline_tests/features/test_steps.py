import numpy as np
import pytest

from cis490_pipeline.domain import CHANNELS, NS_PER_S
from cis490_pipeline.features.channels import POSITION
from cis490_pipeline.features.steps import resolution, step_changes, unit_of_steps

T0_NS = 1_795_340_000 * NS_PER_S


def grid_of(*columns):
    return np.log1p(np.stack(columns, axis=1)).astype(np.float32)


def test_step_is_the_mean_of_5_s_after_less_that_of_5_s_before():
    level = np.repeat([100.0, 130.0], 100)
    ramp = np.arange(200.0)

    steps = step_changes(grid_of(level, ramp), T0_NS, [T0_NS + 10 * NS_PER_S])

    assert steps == pytest.approx(np.array([[30.0, 50.0]]), abs=1e-3)


def test_two_pages_of_a_large_gauge_are_seen():
    level = 2e7 + np.repeat([0.0, 8192.0], 100)

    steps = step_changes(grid_of(level), T0_NS, [T0_NS + 10 * NS_PER_S])

    assert steps[0, 0] == pytest.approx(8192, rel=0.01)


def test_step_beyond_the_grid_or_of_unknown_seconds_is_unknown():
    known = np.full(200, 5.0)
    gap = known.copy()
    gap[100:126] = np.nan

    steps = step_changes(
        grid_of(known, gap), T0_NS, [T0_NS + int(s * NS_PER_S) for s in (4.9, 5.0, 10.0, 15.1)]
    )

    assert np.isnan(steps).tolist() == [
        [True, True],
        [False, False],
        [False, True],
        [True, True],
    ]


def test_each_channel_has_a_resolution_of_its_unit():
    channel = {name: CHANNELS[k] for name, k in POSITION.items()}

    assert all(resolution(c) > 0 for c in CHANNELS)
    assert resolution(channel["guest.top_rss_bytes"]) == 4096
    assert resolution(channel["guest.forks"]) == 0.2
    assert unit_of_steps(channel["guest.forks"]) == "forks/s"
    assert unit_of_steps(channel["guest.load_1m"]) == "processes"

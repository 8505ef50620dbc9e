import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cis490_pipeline.domain import CHANNELS, Variant
from cis490_pipeline.features import history as module
from cis490_pipeline.features.columns import CALIBRATED, STORED, stored_columns, stored_names
from cis490_pipeline.features.history import (
    HISTORY_STEPS,
    history,
    linear_level,
    quanta,
    quantum,
    squashed,
)
from cis490_pipeline.features.summary import summarize, summary_names
from cis490_pipeline.features.windows import cut_windows, window_starts

N_COLUMNS = len(module.STORED)


def random_grid(seed=0, n_steps=700, n_channels=3, unknown=0.1):
    rng = np.random.default_rng(seed)
    level = np.array([0.0, 8.0, 22.0, 3.0][:n_channels])
    grid = np.abs(level + rng.standard_normal((n_steps, n_channels))).astype(np.float32)
    grid[rng.random(grid.shape) < unknown] = np.nan
    grid[rng.random(grid.shape) < 0.05] = 0
    return grid


def by_hand(grid, start):
    """The seven means of one window by loops over steps: [channel][column]."""

    def mean(c, first, end, least):
        steps = [grid[step][c] for step in range(max(first, 0), max(end, 0))]
        known = [math.expm1(value) for value in steps if not math.isnan(value)]
        return math.fsum(known) / len(known) if len(known) >= least else math.nan

    rows = []
    for c in range(len(grid[0])):
        bins = [mean(c, start + 20 * i, start + 20 * (i + 1), 1) for i in range(5)]
        rows.append([*bins, mean(c, start - 100, start, 75), mean(c, start - 200, start - 100, 75)])
    return rows


def of_channels(features, n_channels):
    return features.reshape(len(features), n_channels, N_COLUMNS)


def test_the_columns_are_the_statistics_then_five_bins_and_two_lags():
    assert stored_names("history", Variant.NETWORK)[:12] == tuple(
        f"netflow.pkts_out:{column}"
        for column in (
            *("mean", "std", "p95", "slope", "zero_fraction"),
            *("bin_1", "bin_2", "bin_3", "bin_4", "bin_5", "lag_10s", "lag_20s"),
        )
    )
    assert CALIBRATED["history"] == (*STORED["history"], "since_10s", "since_20s")
    assert len(stored_names("history", Variant.ORACLE)) == 46 * 12


def test_a_ramp_gives_means_one_can_compute_in_the_head():
    grid = np.log1p(np.arange(300, dtype=np.float64))[:, None].astype(np.float32)

    means = history(grid, np.array([200]))[0, 5:]

    # The middle of steps 200-219, 220-239, ...; of steps 100-199, and of steps 0-99.
    np.testing.assert_allclose(means, [209.5, 229.5, 249.5, 269.5, 289.5, 149.5, 49.5], rtol=1e-6)


@pytest.mark.parametrize("unknown", [0.0, 0.1, 0.3, 0.9, 1.0])
def test_means_are_those_of_loops_over_steps(unknown):
    grid = random_grid(unknown=unknown)
    starts = window_starts(len(grid))

    features = of_channels(history(grid, starts), 3)

    wanted = [by_hand(grid.tolist(), int(start)) for start in starts]
    np.testing.assert_allclose(features[..., 5:], wanted, rtol=1e-6)


def test_the_first_five_columns_are_the_summary_to_the_bit():
    grid = random_grid()
    starts = window_starts(len(grid))

    features = of_channels(history(grid, starts), 3)

    summary = summarize(cut_windows(grid, starts)).reshape(len(starts), 3, 5)
    assert features[..., :5].tobytes() == summary.tobytes()


@pytest.mark.parametrize(("n_known", "is_known"), [(74, False), (75, True), (100, True)])
def test_a_lag_is_known_from_three_quarters_of_its_steps_on(n_known, is_known):
    grid = np.ones((300, 1), dtype=np.float32)
    grid[: 100 - n_known] = np.nan
    grid[100 : 200 - n_known] = np.nan

    lags = history(grid, np.array([200]))[0, -2:]

    assert (np.isfinite(lags) == is_known).all()


def test_lags_from_before_the_recording_are_unknown():
    grid = random_grid(n_steps=400, unknown=0)

    known = np.isfinite(of_channels(history(grid, window_starts(400)), 3)[..., -2:]).all(axis=1)

    # By window, at 0, 5, … s: 10 s before and 20 s before.
    assert known.tolist() == [
        [False, False],
        [False, False],
        [True, False],
        [True, False],
        [True, True],
        [True, True],
        [True, True],
    ]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    cut=st.integers(10, 70),
    unknown=st.sampled_from([0.0, 0.2, 0.7]),
)
def test_steps_after_a_window_and_long_before_it_change_none_of_its_bits(seed, cut, unknown):
    grid = random_grid(seed, unknown=unknown)
    starts = window_starts(len(grid))
    whole = history(grid, starts)

    prefix = grid[: 10 * cut]
    of_prefix = history(prefix, window_starts(len(prefix)))
    last = [
        history(grid[start - HISTORY_STEPS : start + 100], np.array([HISTORY_STEPS]))[0]
        for start in starts[starts >= HISTORY_STEPS]
    ]

    assert of_prefix.tobytes() == whole[: len(of_prefix)].tobytes()
    assert np.array(last).tobytes() == whole[-len(last) :].tobytes()


def test_a_channel_has_the_same_bits_alone_and_among_others():
    grid = random_grid(n_channels=3)
    starts = window_starts(len(grid))

    alone = np.stack([history(grid[:, [c]], starts) for c in range(3)], axis=1)

    assert alone.tobytes() == of_channels(history(grid, starts), 3).tobytes()


def test_the_largest_readings_stay_finite():
    grid = np.full((300, 1), 710, dtype=np.float32)

    features = history(grid, np.array([200]))

    assert np.isfinite(features).all()
    assert np.isfinite(linear_level(np.array([710], np.float32))).all()


def test_windows_off_the_blocks_are_refused():
    with pytest.raises(ValueError, match="multiples of 10 steps"):
        history(random_grid(), np.array([5]))


def test_every_channel_has_the_quantum_of_its_unit():
    by_name = {channel.name: quantum(channel) for channel in CHANNELS}

    assert by_name["guest.mem_available_bytes"] == by_name["guest.top_rss_bytes"] == 262_144
    assert by_name["proc.rss_bytes"] == 262_144
    assert by_name["guest.mem_dirty_bytes"] == 16_384
    assert by_name["guest.load_1m"] == 0.05
    bytes_per_s = {c.name for c in CHANNELS if c.unit == "bytes" and str(c.kind) != "gauge"}
    assert len(bytes_per_s) == 8
    assert {by_name[name] for name in bytes_per_s} == {100}
    others = {c.name for c in CHANNELS if c.unit != "bytes"} - {"guest.load_1m"}
    assert {by_name[name] for name in others} == {1}
    np.testing.assert_array_equal(quanta(Variant.ORACLE), list(by_name.values()))


def test_squashed_means_are_asinh_of_distances_in_quanta():
    means = np.array([[[1, 2, np.nan, 4, 5, 2, np.nan]]], np.float32)

    found = squashed(means, np.array([[1.0]]), np.array([0.5]))[0, 0]

    bins = [math.asinh((x - 1) / 0.5) for x in (1, 2)]
    rest = [math.asinh((x - 1) / 0.5) for x in (4, 5, 2)]
    # Change since: the mean of the four known bins, 3, less the lag.
    since = [math.asinh((3 - 2) / 0.5), math.nan]
    np.testing.assert_allclose(found, [*bins, math.nan, *rest, math.nan, *since], rtol=1e-6)


def test_without_a_baseline_only_changes_are_known():
    means = np.arange(1, 8, dtype=np.float32)[None, None]

    known = np.isfinite(squashed(means, np.array([[np.nan]]), np.array([1.0])))[0, 0]

    assert known.tolist() == [False] * 7 + [True] * 2


def test_the_statistics_in_a_row_of_history_are_where_a_reader_of_summaries_looks():
    channels = np.array([0, 2])
    names = np.array(stored_names("history", Variant.ORACLE))
    wanted = np.array(summary_names(Variant.ORACLE))[stored_columns("summary", channels, "summary")]

    assert (names[stored_columns("summary", channels, "history")] == wanted).all()
    with pytest.raises(ValueError, match="summary rows do not hold the columns of history"):
        stored_columns("history", channels, "summary")

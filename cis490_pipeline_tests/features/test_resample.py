import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cis490_pipeline.domain import CHANNELS, NS_PER_S, Source
from cis490_pipeline.errors import TelemetryError
from cis490_pipeline.features.channels import POSITION
from cis490_pipeline.features.golden import FIXTURE_STEPS, FIXTURE_T0_NS, fixture_rows
from cis490_pipeline.features.resample import (
    STEP_NS,
    amount_rate,
    counter_rates,
    episode_grid,
    last_readings,
    step_count,
    step_edges,
)
from cis490_pipeline.store.rows.columns import Columns
from cis490_pipeline.store.rows.counters import growth_of
from cis490_pipeline.store.rows.readings import MERGE_INTERVALS, Readings, kept_readings

S = NS_PER_S
MS = S // 1000


def ns(*seconds):
    return np.array([round(s * S) for s in seconds], dtype=np.int64)


def column(*values, dtype=np.int64):
    return np.array(values, dtype=dtype)[:, None]


def rate_of(t, count, edges, interval=S, may_fall=False):
    keep = np.flatnonzero(kept_readings(t, MERGE_INTERVALS * interval))
    readings = Readings(
        names=("0",), rows=keep, t_wall_ns=t[keep], visible_ns=t[keep], values=count[keep]
    )
    (growth,) = growth_of([readings], t.size, ["0"] if may_fall else [])
    return counter_rates(readings, growth, edges, interval)[:, 0]


def test_rate_is_growth_over_the_time_between_the_readings_and_not_over_the_step():
    t = ns(-0.02, 0.08, 0.2)

    rates = rate_of(t, column(100, 150, 210), step_edges(0, 2), interval=100 * MS)

    np.testing.assert_allclose(rates, [500, 500])


def test_a_reading_at_a_steps_end_belongs_to_that_step():
    rates = rate_of(ns(0, 0.1, 0.2), column(0, 3, 3), step_edges(0, 2), interval=100 * MS)

    np.testing.assert_allclose(rates, [30, 0])


def test_a_step_without_a_new_reading_holds_the_rate_before_it_until_three_intervals_have_passed():
    rates = rate_of(ns(0, 1), column(0, 20), step_edges(0, 50))

    assert np.isnan(rates[:9]).all()
    np.testing.assert_array_equal(rates[9:40], 20)
    assert np.isnan(rates[40:]).all()


def test_a_fall_is_a_restart_from_zero():
    rates = rate_of(ns(0, 1, 2), column(10, 30, 5), ns(0, 1, 2))

    np.testing.assert_array_equal(rates, [20, 5])


def test_a_fall_of_a_counter_that_may_fall_is_unknown_until_the_next_reading():
    rates = rate_of(ns(0, 1, 2, 3), column(10, 30, 29, 31), ns(0, 1, 2, 2.5, 3), may_fall=True)

    np.testing.assert_array_equal(rates, [20, np.nan, np.nan, 2])


def test_rates_of_counters_beyond_2_to_the_53_are_exact():
    start = 2**60 + 1

    rates = rate_of(ns(0, 1), column(start, start + 3), ns(0, 1))

    np.testing.assert_array_equal(rates, [3])


def test_a_late_reading_makes_no_rate_over_the_short_time_to_the_next():
    t = ns(0, 0.1, 0.295, 0.3, 0.4)

    rates = rate_of(t, column(0, 1, 2, 3, 4), step_edges(0, 4), interval=100 * MS)

    np.testing.assert_allclose(rates, [10, 10, 1 / 0.195, 2 / 0.105])


def test_of_readings_closer_than_a_fifth_of_the_interval_the_first_is_kept():
    t = ns(0, 1, 1.1, 1.19, 1.25, 2, 2)

    keep = kept_readings(t, 0.2 * S)

    np.testing.assert_array_equal(keep, [1, 1, 0, 0, 1, 0, 1])


@given(st.lists(st.integers(0, 400 * MS), min_size=2, max_size=60))
def test_kept_readings_are_never_closer_than_the_gap_and_dropped_ones_always_are(gaps):
    t = np.cumsum(np.array(gaps, dtype=np.int64))

    keep = kept_readings(t, 200 * MS)

    kept = t[keep]
    assert (np.diff(kept) >= 200 * MS).all()
    before = kept[np.searchsorted(kept, t[~keep], side="right") - 1]
    assert (t[~keep] - before < 200 * MS).all()


@given(st.integers(0, 400 * MS), st.integers(1, 99))
def test_growth_is_never_lost_by_merging(late_by, cut):
    t = np.arange(100, dtype=np.int64) * 100 * MS
    t[cut] += late_by
    t = np.sort(t)
    count = np.arange(100, dtype=np.int64)[:, None] * 7

    keep = kept_readings(t, 20 * MS)
    edges = t[keep]
    rates = rate_of(t, count, edges, interval=100 * MS)

    grown = np.sum(rates * np.diff(edges) / S)
    last_of_equal = np.flatnonzero(t <= edges[-1])[-1]
    np.testing.assert_allclose(grown, count[last_of_equal, 0] - count[t == t[0]][-1, 0])


def test_a_gauge_is_its_last_reading_and_is_unknown_before_the_first_and_when_stale():
    values = column(5.0, 7.0, dtype=np.float64)

    t = ns(0.15, 0.2)
    on_grid = last_readings(t, t, values, step_edges(0, 7), 100 * MS)

    np.testing.assert_array_equal(on_grid[:, 0], [np.nan, 7, 7, 7, 7, np.nan, np.nan])


def test_an_amount_is_the_sum_of_the_rows_that_end_in_the_step_per_second():
    t = ns(0.1, 0.11, 0.2, 0.4)
    amounts = column(1.0, 2.0, 3.0, 4.0, dtype=np.float64)

    on_grid = amount_rate(t, amounts, step_edges(0, 9), nominal_interval_ns=100 * MS)

    np.testing.assert_allclose(on_grid[:, 0], [10, 50, 0, 40, 0, 0, 0, np.nan, np.nan])


def test_an_amount_that_was_not_read_makes_its_step_unknown():
    amounts = column(1.0, np.nan, 3.0, dtype=np.float64)

    on_grid = amount_rate(ns(0.1, 0.2, 0.3), amounts, step_edges(0, 3), nominal_interval_ns=S // 10)

    np.testing.assert_allclose(on_grid[:, 0], [10, np.nan, 30])


def test_the_grid_holds_log1p_and_nan_for_what_was_never_recorded():
    rows = {
        Source.QMP: pl.DataFrame({"t_wall_ns": ns(0, 1, 2), "blk_rd_ops": [0, 9, 18]}),
        Source.NETFLOW: pl.DataFrame(schema={"t_wall_ns": pl.Int64, "pkts_in": pl.Int64}),
    }

    grid = episode_grid(rows, 0, 20)

    assert grid.shape == (20, len(CHANNELS))
    assert grid.dtype == np.float32
    reads = POSITION["qmp.blk_rd_ops"]
    np.testing.assert_allclose(grid[9:, reads], np.log1p(9.0), rtol=1e-6)
    assert np.isnan(np.delete(grid, reads, axis=1)).all()


def test_a_null_reading_is_no_reading_of_its_channel_alone():
    rows = fixture_rows()
    field = "cpu_user_jiffies"
    proc = rows[Source.PROC]
    nulled = proc.with_columns(
        pl.when(pl.int_range(pl.len()) % 3 == 1).then(None).otherwise(field).alias(field)
    )
    dropped = proc.filter(pl.int_range(pl.len()) % 3 != 1)

    grid = episode_grid({Source.PROC: nulled}, FIXTURE_T0_NS, FIXTURE_STEPS)

    place = POSITION[f"proc.{field}"]
    without = episode_grid({Source.PROC: dropped}, FIXTURE_T0_NS, FIXTURE_STEPS)
    untouched = episode_grid({Source.PROC: proc}, FIXTURE_T0_NS, FIXTURE_STEPS)
    np.testing.assert_array_equal(grid[:, place], without[:, place])
    np.testing.assert_array_equal(grid[:, place + 1], untouched[:, place + 1])


def test_columns_and_frames_of_the_same_rows_have_the_same_grid():
    rows = fixture_rows()
    columns = {source: Columns.of(frame) for source, frame in rows.items()}

    np.testing.assert_array_equal(
        episode_grid(columns, FIXTURE_T0_NS, FIXTURE_STEPS),
        episode_grid(rows, FIXTURE_T0_NS, FIXTURE_STEPS),
    )


def test_a_negative_value_is_unknown():
    rows = {Source.PROC: pl.DataFrame({"t_wall_ns": ns(0.05, 0.15), "rss_bytes": [-5, 5]})}

    grid = episode_grid(rows, 0, 2)

    np.testing.assert_allclose(grid[:, POSITION["proc.rss_bytes"]], [np.nan, np.log1p(5.0)])


@given(cut=st.integers(1, FIXTURE_STEPS))
@settings(max_examples=60)
def test_cutting_an_episode_changes_no_step_that_ends_by_the_cut(cut):
    rows = fixture_rows()
    until = FIXTURE_T0_NS + cut * STEP_NS
    prefix = {source: frame.filter(pl.col("t_wall_ns") <= until) for source, frame in rows.items()}

    np.testing.assert_array_equal(
        episode_grid(prefix, FIXTURE_T0_NS, cut),
        episode_grid(rows, FIXTURE_T0_NS, FIXTURE_STEPS)[:cut],
    )


@given(first=st.integers(0, FIXTURE_STEPS - 1))
@settings(max_examples=60)
def test_a_grid_that_starts_late_equals_the_part_of_one_that_starts_early(first):
    rows = fixture_rows()

    late = episode_grid(rows, FIXTURE_T0_NS + first * STEP_NS, FIXTURE_STEPS - first)

    np.testing.assert_array_equal(late, episode_grid(rows, FIXTURE_T0_NS, FIXTURE_STEPS)[first:])


@given(bases=st.tuples(*[st.integers(0, 10**15)] * 4))
@settings(max_examples=20)
def test_the_monotonic_clocks_of_the_sources_do_not_matter(bases):
    rows = fixture_rows()
    other = {
        source: frame.with_columns((pl.col("t_wall_ns") % 10**9 + base).alias("t_mono_ns"))
        for (source, frame), base in zip(rows.items(), bases, strict=True)
    }

    grid = episode_grid(other, FIXTURE_T0_NS, FIXTURE_STEPS)

    np.testing.assert_array_equal(grid, episode_grid(rows, FIXTURE_T0_NS, FIXTURE_STEPS))
    assert not np.isnan(grid).all(axis=0).any()


def test_the_order_in_which_sources_were_read_does_not_matter():
    rows = fixture_rows()
    other_order = dict(reversed(rows.items()))

    np.testing.assert_array_equal(
        episode_grid(other_order, FIXTURE_T0_NS, FIXTURE_STEPS),
        episode_grid(rows, FIXTURE_T0_NS, FIXTURE_STEPS),
    )


@given(order=st.permutations(range(13)))
@settings(max_examples=10)
def test_the_order_of_a_sources_columns_does_not_matter(order):
    rows = fixture_rows()
    proc = rows[Source.PROC]

    shuffled = {Source.PROC: proc.select(proc.columns[i] for i in order)}

    np.testing.assert_array_equal(
        episode_grid(shuffled, FIXTURE_T0_NS, FIXTURE_STEPS),
        episode_grid({Source.PROC: proc}, FIXTURE_T0_NS, FIXTURE_STEPS),
    )


def test_a_dead_counter_has_the_rate_zero_and_is_not_unknown():
    rows = {Source.GUEST: pl.DataFrame({"t_wall_ns": ns(0, 1, 2, 3), "forks": [7, 7, 7, 7]})}

    grid = episode_grid(rows, 0, 30)

    np.testing.assert_array_equal(grid[9:, POSITION["guest.forks"]], 0)


def test_a_source_of_one_row_a_second_fills_every_step_between_its_rows():
    t = ns(*range(12))
    rows = {Source.QMP: pl.DataFrame({"t_wall_ns": t, "blk_wr_ops": np.arange(12) * 5})}

    grid = episode_grid(rows, 0, 110)

    np.testing.assert_allclose(grid[9:, POSITION["qmp.blk_wr_ops"]], np.log1p(5.0), rtol=1e-6)


def test_in_a_gap_values_are_held_for_three_intervals_and_then_unknown():
    t = np.delete(np.arange(60), slice(20, 40)) * STEP_NS
    rows = {Source.NETFLOW: pl.DataFrame({"t_wall_ns": t, "pkts_in": np.ones(40, dtype=np.int64)})}

    known = ~np.isnan(episode_grid(rows, 0, 59)[:, POSITION["netflow.pkts_in"]])

    np.testing.assert_array_equal(np.flatnonzero(~known), np.arange(22, 39))


def test_a_shift_of_all_wall_clocks_shifts_nothing_on_the_grid():
    rows = fixture_rows()
    by = 123_456_789_123
    later = {s: frame.with_columns(pl.col("t_wall_ns") + by) for s, frame in rows.items()}

    np.testing.assert_array_equal(
        episode_grid(later, FIXTURE_T0_NS + by, FIXTURE_STEPS),
        episode_grid(rows, FIXTURE_T0_NS, FIXTURE_STEPS),
    )


def test_a_source_whose_time_goes_back_is_named():
    rows = fixture_rows()
    rows[Source.GUEST] = rows[Source.GUEST].reverse()

    with pytest.raises(TelemetryError, match="guest: t_wall_ns must not go back, but row 1 "):
        episode_grid(rows, FIXTURE_T0_NS, FIXTURE_STEPS)


def test_only_whole_steps_are_counted():
    assert step_count(0, STEP_NS * 3 - 1) == 2
    assert step_count(0, STEP_NS * 3) == 3
    assert step_count(5, 0) == 0

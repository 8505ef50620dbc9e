"""Which readings count: negative ones never, and of a fast guest the last of each second."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cis490_pipeline.domain import CHANNELS, NS_PER_S, Kind, Source
from cis490_pipeline.features.channels import POSITION, source_channels
from cis490_pipeline.features.resample import STEP_NS, episode_grid
from cis490_pipeline.store.rows.columns import TIME, Columns
from cis490_pipeline.store.rows.readings import distinct_times, without_negatives

S = NS_PER_S
T0 = 1_700_000_000 * S + 123_456_789


def rows_of(source, t, seed, trouble):
    """Columns of all the source's channels, with falls, restarts, negatives and unknowns."""
    rng = np.random.default_rng(seed)
    n = t.size
    values, known = {TIME: t}, {}
    whole = rng.random(n) < 0.03
    for _, channel in source_channels(source):
        grown = 5000 + np.cumsum(rng.integers(0, 50, n))
        if channel.kind is Kind.COUNTER:
            for row in np.flatnonzero(whole) if trouble else ():
                grown[row:] -= grown[row]
        if trouble:
            grown = np.where(rng.random(n) < 0.03, rng.choice([0, -1, 7]), grown)
            known[channel.field] = rng.random(n) > 0.1
        values[channel.field] = grown
    return Columns(values, known)


def gaps(rng, n, kind, source):
    nominal = S / source.rate_hz
    if kind == "fast":
        return (rng.uniform(0.07, 0.13, n) * nominal).astype(np.int64)
    if kind == "mixed":
        fast = np.arange(n) // 25 % 2 == 0
        return (np.where(fast, 0.1, 1.0) * rng.uniform(0.8, 1.2, n) * nominal).astype(np.int64)
    return (rng.uniform(0.0, 2.0, n) * nominal).astype(np.int64)


@settings(max_examples=60, deadline=None)
@given(
    source=st.sampled_from(list(Source)),
    kind=st.sampled_from(["fast", "mixed", "any"]),
    cut=st.integers(1, 199),
    seed=st.integers(0, 10_000),
)
def test_no_step_uses_what_comes_after_its_end(source, kind, cut, seed):
    rng = np.random.default_rng(seed)
    t = T0 - S + np.cumsum(gaps(rng, 220, kind, source))
    columns = rows_of(source, t, seed, trouble=True)
    n_until = int(np.searchsorted(t, T0 + cut * STEP_NS, side="right"))
    prefix = Columns(
        {name: v[:n_until] for name, v in columns.values.items()},
        {name: k[:n_until] for name, k in columns.known.items()},
    )

    np.testing.assert_array_equal(
        episode_grid({source: prefix}, T0, cut), episode_grid({source: columns}, T0, 200)[:cut]
    )


def thinned_by_hand(columns):
    """Last row of each second (T0 + k s, T0 + (k + 1) s]."""
    second = (columns.times - T0 - 1) // S
    last = np.flatnonzero(np.diff(second, append=second[-1:] + 1) > 0)
    return Columns({name: values[last] for name, values in columns.values.items()})


def test_a_guest_at_10_hz_has_the_values_of_its_last_reading_in_each_second():
    rng = np.random.default_rng(0)
    t = T0 + S // 10 * np.arange(1, 301) - rng.integers(0, 40_000_000, 300)
    columns = rows_of(Source.GUEST, t, 0, trouble=False)

    grid = episode_grid({Source.GUEST: columns}, T0, 300)

    by_hand = episode_grid({Source.GUEST: thinned_by_hand(columns)}, T0, 300)
    np.testing.assert_array_equal(grid[20:], by_hand[20:])


def test_a_reading_of_a_fast_guest_is_used_once_its_second_is_over():
    t = T0 + S // 5 * np.arange(1, 51) - 50_000_000
    columns = Columns({TIME: t, "procs_running": np.arange(50)})

    grid = episode_grid({Source.GUEST: columns}, T0, 100)

    values = np.expm1(grid[20:, POSITION["guest.procs_running"]])
    # Five readings a second; the last one, at .95 s, shows in the second's last step.
    np.testing.assert_allclose(values[9:19], 14, rtol=1e-5)
    np.testing.assert_allclose(values[19:29], 19, rtol=1e-5)


@pytest.mark.parametrize("late_s", [0.3, 0.7, 0.95])
def test_a_late_reading_of_a_guest_at_1_hz_is_not_taken_for_a_fast_one(late_s):
    t = T0 + S * np.arange(1, 31)
    t[12] += round(late_s * S)

    assert distinct_times(Source.GUEST, Columns({TIME: t, "ctxt": t}), anchor_ns=T0).size == 30


def test_only_the_guest_is_thinned():
    t = T0 + S // 20 * np.arange(100)
    proc = Columns({TIME: t, "rss_bytes": np.arange(100)})

    assert distinct_times(Source.PROC, proc, anchor_ns=T0).size == 100
    guest = Columns({TIME: t, "load_1m": np.arange(100) / 10})
    assert distinct_times(Source.GUEST, guest, anchor_ns=T0).size == 8


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.name)
def test_a_negative_reading_is_that_of_no_row(channel):
    source = channel.source
    t = T0 + round(S / source.rate_hz) * np.arange(40)
    values = 10 * np.arange(40).astype(np.float64 if channel.is_float else np.int64)
    spoilt = values.copy()
    spoilt[[7, 20, 21]] = [-1, -5, -(2**62)]
    there = spoilt >= 0

    grid = episode_grid({source: Columns({TIME: t, channel.field: spoilt})}, T0, 300)

    unread = Columns({TIME: t, channel.field: values}, {channel.field: there})
    np.testing.assert_array_equal(grid, episode_grid({source: unread}, T0, 300))


def test_columns_without_a_negative_reading_are_left_as_they_are():
    columns = Columns({TIME: np.arange(3), "ctxt": np.array([0, 1, 2])})

    assert without_negatives(Source.GUEST, columns) is columns


def test_times_count_once_and_only_with_a_reading():
    t = T0 + S * np.array([1, 2, 2, 3, 4])
    known = np.array([True, False, True, True, False])
    columns = Columns({TIME: t, "pkts_in": np.arange(5)}, {"pkts_in": known})

    times = distinct_times(Source.NETFLOW, columns, anchor_ns=T0)

    np.testing.assert_array_equal(times, T0 + S * np.array([1, 2, 3]))

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.features.channels import source_channels
from cis490_pipeline.features.resample import episode_grid
from cis490_pipeline.live.buffer import MAX_ROWS, SourceBuffer
from cis490_pipeline.live.feeds.rows import LiveRow

S = NS_PER_S
HISTORY_NS = 5 * S


def rows_at(source, times_ns, known, seed, trouble="some fall"):
    """Rows at given times; counters grow and have their troubles, some readings are unknown."""
    rng = np.random.default_rng(seed)
    n = len(source_channels(source))
    value, dipped = rng.integers(1000, 2000, size=n), np.zeros(n, dtype=int)
    for t in times_ns:
        value = value + rng.integers(0, 40, size=n)
        said = value.copy()
        if trouble == "some fall":
            value = np.where(rng.random(n) < 0.02, 3, value)
            said = value.copy()
        elif trouble == "all restart" and rng.random() < 0.03:
            value = rng.integers(0, 30, size=n)
            said = value.copy()
        elif trouble == "dips":
            # To zero, by one, below zero, or to half, for one reading or some.
            dipped = np.where(rng.random(n) < 0.04, rng.integers(1, 4, size=n), dipped - 1)
            low = np.choose(rng.integers(0, 4, size=n), [0 * value, value - 41, -value, value // 2])
            said = np.where(dipped > 0, low, value)
        unknown = rng.random(n) > known
        yield LiveRow(
            source,
            int(t),
            tuple(None if u else int(v) for v, u in zip(said, unknown, strict=True)),
        )


def gaps(source, kind, rng, n):
    """Milliseconds between rows: regular, all too close together, with holes, or in bursts."""
    nominal = 1000 / source.rate_hz
    if kind == "regular":
        return rng.uniform(0.7, 1.3, n) * nominal
    if kind == "close":
        return rng.uniform(0.05, 0.25, n) * nominal
    if kind == "bursts":
        # Nominal for a while, then ten times as fast, and back.
        return np.where(np.arange(n) // 30 % 2 == 0, 1.0, 0.1) * rng.uniform(0.8, 1.2, n) * nominal
    return np.where(rng.random(n) < 0.1, 20 * nominal, rng.uniform(0.1, 1.3, n) * nominal)


@settings(max_examples=30)
@given(
    source=st.sampled_from(list(Source)),
    kind=st.sampled_from(["regular", "close", "holes", "bursts"]),
    known=st.sampled_from([1.0, 0.9, 0.3]),
    trouble=st.sampled_from(["none", "some fall", "all restart", "dips"]),
    seed=st.integers(0, 10_000),
)
@pytest.mark.long
def test_what_is_forgotten_changes_no_later_window(source, kind, known, trouble, seed):
    rng = np.random.default_rng(seed)
    times = np.cumsum((gaps(source, kind, rng, 400) * 1e6).astype(np.int64)) + 10**15
    rows = list(rows_at(source, times, known, seed, trouble))
    everything, trimmed = SourceBuffer(source), SourceBuffer(source)
    start = int(times[0])

    for row in rows:
        everything.add(row)
        trimmed.add(row)
        while start + 10 * S <= row.t_wall_ns:
            grids = [
                episode_grid({source: buffer.columns()}, start, 100)
                for buffer in (everything, trimmed)
            ]
            np.testing.assert_allclose(grids[1], grids[0], rtol=1e-6, atol=1e-6)
            start += 5 * S
            trimmed.trim(start - HISTORY_NS)


def test_a_regular_source_is_held_for_seconds_only():
    source = Source.NETFLOW
    buffer = SourceBuffer(source)

    for i, row in enumerate(rows_at(source, 10**15 + np.arange(1, 3001) * S // 10, 1.0, 0)):
        buffer.add(row)
        if i % 50 == 0:
            buffer.trim(row.t_wall_ns - 17 * S)
        assert len(buffer) <= 17 * 10 + 60


def test_a_flood_of_rows_is_forgotten_and_counted():
    source = Source.GUEST
    buffer = SourceBuffer(source)

    for row in rows_at(source, 10**15 + np.arange(3 * MAX_ROWS), 1.0, 0):
        buffer.add(row)

    assert len(buffer) <= MAX_ROWS
    assert len(buffer) + buffer.overrun == 3 * MAX_ROWS


@pytest.mark.parametrize("source", list(Source))
def test_an_empty_buffer_gives_no_rows(source):
    assert SourceBuffer(source).columns().n_rows == 0

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.training.augmentation import drop_channels, drop_sources, jitter_channels


def test_a_dropped_source_is_dropped_whole_and_nothing_else_is():
    X = np.random.default_rng(0).normal(size=(500, 7, 3)).astype(np.float32)

    dropped = drop_sources(X, (slice(0, 4), slice(4, 7)), 0.3, np.random.default_rng(1))

    unknown = np.isnan(dropped)
    for columns in (slice(0, 4), slice(4, 7)):
        part = unknown[:, columns].reshape(500, -1)
        assert (part.all(axis=1) | ~part.any(axis=1)).all()
        assert part.all(axis=1).mean() == pytest.approx(0.3, abs=0.07)
    np.testing.assert_array_equal(dropped[~unknown], X[~unknown])


def test_dropping_sources_leaves_the_windows_it_was_given():
    X = np.ones((50, 4), dtype=np.float32)

    drop_sources(X, (slice(0, 2), slice(2, 4)), 0.9, np.random.default_rng(0))

    assert (X == 1).all()


def test_an_only_source_is_never_dropped():
    X = np.ones((50, 4), dtype=np.float32)

    assert (drop_sources(X, (slice(0, 4),), 0.9, np.random.default_rng(0)) == 1).all()


def test_a_dropped_channel_is_dropped_in_all_its_columns_and_nothing_else_is():
    X = np.random.default_rng(0).normal(size=(400, 6 * 5, 3)).astype(np.float32)

    dropped = drop_channels(X, 0.25, 5, np.random.default_rng(1))

    unknown = np.isnan(dropped).reshape(400, 6, -1)
    assert (unknown.all(axis=2) | ~unknown.any(axis=2)).all()
    assert unknown.all(axis=2).mean() == pytest.approx(0.25, abs=0.03)
    np.testing.assert_array_equal(dropped[~np.isnan(dropped)], X[~np.isnan(dropped)])
    assert np.isfinite(X).all()


@given(seed=st.integers(0, 1000), probability=st.sampled_from([0.3, 0.9]))
def test_no_window_loses_the_last_channel_it_knows(seed, probability):
    X = np.ones((30, 4 * 2), dtype=np.float32)
    X[:10, 2:] = np.nan
    X[20:25] = np.nan

    dropped = drop_channels(X, probability, 2, np.random.default_rng(seed))

    known = ~np.isnan(dropped).all(axis=1)
    assert known.tolist() == [True] * 20 + [False] * 5 + [True] * 5
    np.testing.assert_array_equal(dropped[:10], X[:10])


def test_dropping_channels_with_probability_0_draws_nothing():
    X = np.ones((5, 6), dtype=np.float32)
    rng = np.random.default_rng(1)

    assert drop_channels(X, 0.0, 2, rng) is X
    assert rng.random() == np.random.default_rng(1).random()


def test_jitter_moves_a_whole_channel_of_a_window_alike():
    X = np.random.default_rng(0).normal(size=(50, 6, 20)).astype(np.float32)
    X[3, 2, 5] = np.nan

    moved = jitter_channels(X, scale=0.3, shift=0.5, rng=np.random.default_rng(1))

    assert moved.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(moved), np.isnan(X))
    # A line through two steps gives the factor and the offset, and all other steps lie on it.
    factor = (moved[..., 1] - moved[..., 0]) / (X[..., 1] - X[..., 0])
    offset = moved[..., 0] - factor * X[..., 0]
    wanted = X * factor[..., None] + offset[..., None]
    np.testing.assert_allclose(moved, wanted, rtol=0, atol=2e-2)
    assert np.log(factor).std() == pytest.approx(0.3, rel=0.15)
    assert offset.std() == pytest.approx(0.5, rel=0.15)


def test_jitter_of_nothing_draws_nothing_and_changes_nothing():
    X = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    rng = np.random.default_rng(1)

    assert jitter_channels(X, scale=0.0, shift=0.0, rng=rng) is X
    assert rng.random() == np.random.default_rng(1).random()


def test_jitter_leaves_the_windows_it_was_given():
    X = np.ones((4, 3), dtype=np.float32)

    jitter_channels(X, scale=0.2, shift=0.2, rng=np.random.default_rng(0))

    assert (X == 1).all()

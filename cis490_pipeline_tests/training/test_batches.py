import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.features.window_data import ArrayWindows
from cis490_pipeline.training.batches import (
    batches,
    drop_sources,
    epoch_order,
    in_memory,
    n_batches,
)

GROUPS = np.repeat([f"episode-{i:02d}" for i in range(20)], 7)


def order(seed=0, epoch=1, block_episodes=4):
    return epoch_order(GROUPS, seed=seed, epoch=epoch, block_episodes=block_episodes)


def test_an_epoch_has_every_window_once():
    np.testing.assert_array_equal(np.sort(order()), np.arange(GROUPS.size))


def test_the_order_is_a_function_of_seed_and_epoch():
    np.testing.assert_array_equal(order(seed=3, epoch=2), order(seed=3, epoch=2))
    assert (order(seed=3, epoch=2) != order(seed=3, epoch=3)).any()
    assert (order(seed=3, epoch=2) != order(seed=4, epoch=2)).any()


def test_windows_stay_within_their_block_of_episodes():
    blocks = GROUPS[order(block_episodes=4)].reshape(5, 4 * 7)

    assert [np.unique(block).size for block in blocks] == [4] * 5


def test_windows_of_a_block_are_mixed():
    first_block = GROUPS[order(block_episodes=4)][:28]

    changes = (first_block[1:] != first_block[:-1]).sum()
    assert changes > 10


@given(n=st.integers(0, 200), size=st.integers(2, 70))
def test_batches_cover_the_epoch_but_for_a_last_single_window(n, size):
    cut = list(batches(np.arange(n), size))

    assert len(cut) == n_batches(n, size)
    assert all(2 <= batch.size <= size for batch in cut)
    assert sum(batch.size for batch in cut) == n - (n % size == 1)


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

    drop_sources(X, (slice(0, 4),), 0.9, np.random.default_rng(0))

    assert (X == 1).all()


class Counted:
    """Windows that count how often they were read."""

    def __init__(self):
        self.n_reads = 0
        self.y = np.arange(6) % 5
        self.groups = np.array(list("aabbcc"))
        self.shape = (3,)

    def __len__(self):
        return 6

    def take(self, indices):
        self.n_reads += 1
        return np.full((len(indices), 3), 2, dtype=np.float32)


def test_a_small_set_is_read_once():
    windows = Counted()

    kept = in_memory(windows)
    kept.take(np.array([0, 3]))
    kept.take(np.array([1]))

    assert windows.n_reads == 1
    assert isinstance(kept, ArrayWindows)


def test_a_large_set_stays_where_it_is(monkeypatch):
    monkeypatch.setattr("cis490_pipeline.training.batches.IN_MEMORY_BYTES", 10)
    windows = Counted()

    assert in_memory(windows) is windows
    assert windows.n_reads == 0

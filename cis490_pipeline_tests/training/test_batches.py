import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.features.datasets.window_data import ArrayWindows
from cis490_pipeline.training.batches import (
    RUN_EPISODES,
    batches,
    epoch_blocks,
    in_memory,
    n_batches,
    n_epoch_windows,
    read_batches,
)

N_EPISODES, N_WINDOWS = 100, 7
# Ids sort against the order of storage, so that an order by name would be found out.
GROUPS = np.repeat([f"episode-{i:03d}" for i in reversed(range(N_EPISODES))], N_WINDOWS)
PLACE = {name: i for i, name in enumerate(dict.fromkeys(GROUPS))}
NUMBERS = np.repeat(np.arange(N_EPISODES), N_WINDOWS)


def blocks(seed=0, epoch=1, block_episodes=24):
    return epoch_blocks(NUMBERS, seed=seed, epoch=epoch, block_episodes=block_episodes)


def order(**options):
    return np.concatenate(blocks(**options))


def runs(block):
    """Places of a block's episodes, as lists of neighbours."""
    places = np.unique([PLACE[name] for name in GROUPS[block]])
    return np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)


@given(
    n_windows=st.lists(st.integers(1, 4), max_size=60),
    block_episodes=st.integers(1, 80),
    epoch=st.integers(1, 40),
)
def test_an_epoch_has_every_window_once_and_every_episode_in_one_block(
    n_windows, block_episodes, epoch
):
    groups = np.repeat(np.arange(len(n_windows)), n_windows)

    found = epoch_blocks(groups, seed=0, epoch=epoch, block_episodes=block_episodes)

    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(groups.size))
    in_block = [set(groups[block]) for block in found]
    assert sum(map(len, in_block)) == len(n_windows)
    assert all(len(episodes) <= block_episodes for episodes in in_block)


def test_the_order_is_a_function_of_seed_and_epoch():
    np.testing.assert_array_equal(order(seed=3, epoch=2), order(seed=3, epoch=2))
    assert (order(seed=3, epoch=2) != order(seed=3, epoch=3)).any()
    assert (order(seed=3, epoch=2) != order(seed=4, epoch=2)).any()


def test_a_block_is_few_runs_of_neighbours_on_disk():
    for block in blocks(block_episodes=24):
        assert len(runs(block)) <= 24 / RUN_EPISODES
        assert len(np.unique(GROUPS[block])) <= 24


def test_runs_are_visited_in_a_random_order_and_cut_elsewhere_each_epoch():
    firsts = [int(runs(blocks(epoch=epoch)[0])[0][0]) for epoch in range(1, 40)]

    assert len({first // RUN_EPISODES for first in firsts}) > 5
    assert len({first % RUN_EPISODES for first in firsts}) == RUN_EPISODES


def test_windows_of_a_block_are_mixed():
    first_block = GROUPS[blocks()[0]]

    changes = (first_block[1:] != first_block[:-1]).mean()
    assert changes > 0.8


def test_episodes_that_fit_into_one_block_are_shuffled_as_one():
    (whole,) = blocks(block_episodes=N_EPISODES)

    # Written out: checkpoints of small corpora repeat to the byte only if this stays.
    rng = np.random.default_rng([0, 1])
    rng.permutation(N_EPISODES)
    np.testing.assert_array_equal(whole, rng.permutation(GROUPS.size))


@given(
    n_windows=st.lists(st.integers(1, 4), min_size=1, max_size=60),
    block_episodes=st.integers(1, 80),
    epoch_windows=st.integers(1, 250),
)
def test_bounded_epochs_are_one_order_in_equal_parts_and_then_another(
    n_windows, block_episodes, epoch_windows
):
    groups = np.repeat(np.arange(len(n_windows)), n_windows)
    n_parts = -(-groups.size // epoch_windows)

    def epoch(number, **bound):
        cut = epoch_blocks(groups, seed=0, epoch=number, block_episodes=block_episodes, **bound)
        return np.concatenate(cut)

    for number in (1, 2):
        first = (number - 1) * n_parts + 1
        parts = [epoch(first + part, epoch_windows=epoch_windows) for part in range(n_parts)]
        np.testing.assert_array_equal(np.concatenate(parts), epoch(number))
        sizes = [part.size for part in parts]
        assert sizes == [
            n_epoch_windows(groups.size, first + part, epoch_windows) for part in range(n_parts)
        ]
        assert sizes[0] == max(sizes) <= epoch_windows
        assert min(sizes) >= max(sizes) - 1


def test_a_bounded_epoch_reads_the_blocks_it_needs_and_no_others():
    bounded = epoch_blocks(NUMBERS, seed=0, epoch=2, block_episodes=24, epoch_windows=200)

    whole = blocks()
    assert len(bounded) <= 3
    assert all(any(np.isin(part, block).all() for block in whole) for part in bounded)


def test_batches_are_the_order_cut_and_each_block_is_asked_for_before_it_is_needed():
    asked = []

    class Watched:
        def read_ahead(self, indices):
            asked.extend(indices)

    whole, seen = order(), 0
    for batch in read_batches(Watched(), blocks(), 32):
        np.testing.assert_array_equal(batch, whole[seen : seen + 32])
        seen += batch.size
        np.testing.assert_array_equal(asked, whole[: len(asked)])
        # The block under way and the next one, and no more than that.
        assert seen <= len(asked) <= seen + 2 * 24 * N_WINDOWS
        assert len(asked) == whole.size or len(asked) > seen
    assert len(asked) == whole.size


@given(n=st.integers(0, 200), size=st.integers(2, 70))
def test_batches_cover_the_epoch_but_for_a_last_single_window(n, size):
    cut = list(batches(np.arange(n), size))

    assert len(cut) == n_batches(n, size)
    assert all(2 <= batch.size <= size for batch in cut)
    assert sum(batch.size for batch in cut) == n - (n % size == 1)


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
    monkeypatch.setattr("cis490_pipeline.features.datasets.window_data.IN_MEMORY_BYTES", 10)
    windows = Counted()

    assert in_memory(windows) is windows
    assert windows.n_reads == 0

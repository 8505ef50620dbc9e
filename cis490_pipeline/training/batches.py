"""Batch composition: a function of (seed, epoch) alone, so that no state needs saving."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cis490_pipeline.features.datasets.window_data import ArrayWindows, WindowData, fits_in_memory

_READ_WINDOWS = 4096
"""Windows calibrated at a time when a set is cached: the arithmetic needs several copies."""

RUN_EPISODES = 8
"""Consecutive episodes on disk that stay together for an epoch: 1.3 MB of grid."""


def epoch_blocks(
    episodes: npt.NDArray[np.integer[Any]],
    *,
    seed: int,
    epoch: int,
    block_episodes: int,
    epoch_windows: int = 0,
) -> list[npt.NDArray[np.intp]]:
    """Order of the windows in one epoch, shuffled within blocks that read few places on disk.

    Parameters
    ----------
    episodes : (n_windows,) episode of each window, numbered from 0 in the order they are stored.
    seed, epoch : the blocks depend on nothing else; epochs are counted from 1.
    block_episodes : maximal number of episodes whose windows are shuffled together.
    epoch_windows : maximal number of windows in an epoch; 0 for all.

    Returns
    -------
    One array (n_windows_of_block,) per block; together they hold every position once. With
    ``epoch_windows`` that holds for a pass of several epochs, each the next part of one order; the
    pass after it has another order.
    """
    part, n_parts = _part_of_pass(episodes.size, epoch, epoch_windows)
    blocks = _blocks_of_all(
        episodes, seed=seed, epoch=(epoch - 1) // n_parts + 1, block_episodes=block_episodes
    )
    if n_parts == 1:
        return blocks
    starts = np.cumsum([0, *(block.size for block in blocks[:-1])])
    cut = [
        block[max(part.start - start, 0) : max(part.stop - start, 0)]
        for block, start in zip(blocks, starts, strict=True)
    ]
    return [block for block in cut if block.size]


def n_epoch_windows(n_windows: int, epoch: int, epoch_windows: int) -> int:
    """Count the windows of an epoch, of at most ``epoch_windows`` unless that is 0."""
    part, _ = _part_of_pass(n_windows, epoch, epoch_windows)
    return len(part)


def _part_of_pass(n_windows: int, epoch: int, epoch_windows: int) -> tuple[range, int]:
    """Return an epoch's part of a pass over all windows, and the number of such parts."""
    n_parts = max(math.ceil(n_windows / epoch_windows), 1) if epoch_windows else 1
    part = (epoch - 1) % n_parts
    # Equal parts, the first the longest: a short rest would be an epoch of few steps.
    start, stop = (math.ceil(n_windows * k / n_parts) for k in (part, part + 1))
    return range(start, stop), n_parts


def _blocks_of_all(
    episodes: npt.NDArray[np.integer[Any]], *, seed: int, epoch: int, block_episodes: int
) -> list[npt.NDArray[np.intp]]:
    """Order of all windows, in blocks.

    Notes
    -----
    Drawing single windows from a whole corpus costs one seek each. Neighbours on disk are therefore
    kept together in runs, and a block mixes runs from the whole corpus. Run boundaries are redrawn
    each epoch, so that the same episodes do not always share a block.
    """
    rng = np.random.default_rng([seed, epoch])
    n_episodes = int(episodes.max(initial=-1)) + 1
    drawn = rng.permutation(n_episodes)
    shuffled = rng.permutation(episodes.size)
    if n_episodes <= block_episodes:
        return [shuffled]
    run_episodes = min(RUN_EPISODES, block_episodes)
    # Separate random stream: a corpus that fits one block must not depend on run boundaries.
    offset = int(np.random.default_rng([seed, epoch, 2]).integers(run_episodes))
    run_of_episode = (np.arange(n_episodes) + offset) // run_episodes
    n_runs = int(run_of_episode[-1]) + 1
    place_of_run = np.argsort(np.argsort(drawn[:n_runs]))
    block_of_run = place_of_run // (block_episodes // run_episodes)
    # Two bytes a window, which numpy also sorts fastest; 65,536 blocks are 16 million episodes.
    block_of_episode = block_of_run[run_of_episode].astype(np.min_scalar_type(block_of_run.max()))
    block_of = block_of_episode[episodes]
    order = shuffled[np.argsort(block_of[shuffled], kind="stable")]
    return np.split(order, np.cumsum(np.bincount(block_of))[:-1])


def read_batches(
    windows: WindowData, blocks: Sequence[npt.NDArray[np.intp]], batch_size: int
) -> Iterator[npt.NDArray[np.intp]]:
    """Cut an epoch into batches, prefetching each block while the previous one is used.

    Blocks are those of ``epoch_blocks``; a batch may span two.
    """
    ends = np.cumsum([block.size for block in blocks])
    n_asked = n_read = 0
    for batch in _across(blocks, batch_size):
        n_read += batch.size
        n_wanted = int(np.searchsorted(ends, n_read)) + 2
        for block in blocks[n_asked:n_wanted]:
            windows.read_ahead(block)
        n_asked = max(n_asked, n_wanted)
        yield batch


def batches(order: npt.NDArray[np.intp], batch_size: int) -> Iterator[npt.NDArray[np.intp]]:
    """Cut an epoch into batches, dropping a last batch of one window.

    BatchNorm has no variance over one window. The order changes each epoch, so no window is
    dropped permanently.
    """
    for start in range(0, order.size, batch_size):
        batch = order[start : start + batch_size]
        if batch.size > 1:
            yield batch


def _across(
    blocks: Sequence[npt.NDArray[np.intp]], batch_size: int
) -> Iterator[npt.NDArray[np.intp]]:
    """Cut blocks as if concatenated, without a second copy of the order."""
    left = np.zeros(0, dtype=np.intp)
    for block in blocks:
        joined = np.concatenate([left, block])
        n_whole = joined.size - joined.size % batch_size
        yield from batches(joined[:n_whole], batch_size)
        left = joined[n_whole:]
    yield from batches(left, batch_size)


def n_batches(n_windows: int, batch_size: int) -> int:
    """Count the batches per epoch that ``batches`` yields."""
    return n_windows // batch_size + (n_windows % batch_size > 1)


def is_held(windows: WindowData) -> bool:
    """Whether a set is in memory, or small enough to be cached there."""
    return isinstance(windows, ArrayWindows) or fits_in_memory(len(windows), windows.shape)


def in_memory(windows: WindowData) -> WindowData:
    """Cache a small set in memory, so that epochs need no calibration; keep a large one on disk."""
    if isinstance(windows, ArrayWindows) or not is_held(windows):
        return windows
    X = np.empty((len(windows), *windows.shape), dtype=np.float32)
    for start in range(0, len(X), _READ_WINDOWS):
        part = np.arange(start, min(start + _READ_WINDOWS, len(X)))
        X[part] = windows.take(part)
    return ArrayWindows(X, windows.y, windows.groups)

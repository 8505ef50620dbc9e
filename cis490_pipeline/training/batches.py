"""Which windows make a batch: a function of (seed, epoch) alone, so that no state needs saving."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from cis490_pipeline.features.window_data import ArrayWindows, WindowData

IN_MEMORY_BYTES = 512 * 2**20
"""Windows up to this size are read once; larger sets are read batch by batch."""


def epoch_order(
    groups: npt.NDArray[np.str_], *, seed: int, epoch: int, block_episodes: int
) -> npt.NDArray[np.intp]:
    """Order of all windows in one epoch, shuffled within blocks of episodes drawn anew.

    Parameters
    ----------
    groups : (n_windows,) episode of each window.
    seed, epoch : the order depends on nothing else.
    block_episodes : episodes that are shuffled among each other.

    Returns
    -------
    (n_windows,) every position once.
    """
    rng = np.random.default_rng([seed, epoch])
    episodes, episode_of = np.unique(groups, return_inverse=True)
    # Windows of one block lie in few shards: reading them is near sequential,
    # which is ten times faster from disk than a draw over the whole corpus.
    block_of_episode = rng.permutation(episodes.size) // block_episodes
    shuffled = rng.permutation(groups.size)
    return shuffled[np.argsort(block_of_episode[episode_of[shuffled]], kind="stable")]


def batches(order: npt.NDArray[np.intp], batch_size: int) -> Iterator[npt.NDArray[np.intp]]:
    """Cut an epoch into batches; a last batch of one window is left out.

    BatchNorm has no variance over one window. The order is new each epoch, so that no window
    is left out for good.
    """
    for start in range(0, order.size, batch_size):
        batch = order[start : start + batch_size]
        if batch.size > 1:
            yield batch


def n_batches(n_windows: int, batch_size: int) -> int:
    """Batches per epoch, as ``batches`` cuts them."""
    return n_windows // batch_size + (n_windows % batch_size > 1)


def drop_sources(
    X: npt.NDArray[np.float32],
    sources: Sequence[slice],
    probability: float,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Copy of a batch in which some windows lost every reading of a source.

    Parameters
    ----------
    X : (n_windows, n_columns, ...) readings; the sources lie on the second axis.
    sources : columns of each source.
    probability : chance per window and source.
    rng : what to draw from.

    Returns
    -------
    Same shape; NaN where a source was dropped.
    """
    dropped = X.copy()
    for columns in sources:
        dropped[rng.random(len(X)) < probability, columns] = np.nan
    return dropped


def in_memory(windows: WindowData) -> WindowData:
    """Read a small set once, so that an epoch costs no calibration; leave a large one on disk."""
    n_bytes = len(windows) * int(np.prod(windows.shape)) * np.dtype(np.float32).itemsize
    if isinstance(windows, ArrayWindows) or n_bytes > IN_MEMORY_BYTES:
        return windows
    return ArrayWindows(windows.take(np.arange(len(windows))), windows.y, windows.groups)

"""Augmentation of training windows: masked sources and channels, moved channels."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def drop_sources(
    X: npt.NDArray[np.float32],
    sources: Sequence[slice],
    probability: float,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Source dropout: copy of a batch with whole sources masked in some windows.

    Parameters
    ----------
    X : (n_windows, n_columns, ...) readings; the sources lie on the second axis.
    probability : per window and source.

    Returns
    -------
    Same shape; NaN where a source was dropped. An only source is never dropped: a window without
    any reading teaches nothing, and none is predicted from one.
    """
    if len(sources) == 1:
        return X
    dropped = X.copy()
    for columns in sources:
        dropped[rng.random(len(X)) < probability, columns] = np.nan
    return dropped


def drop_channels(
    X: npt.NDArray[np.float32],
    probability: float,
    columns_per_channel: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Channel dropout: copy of a batch with whole channels masked in some windows.

    Parameters
    ----------
    X : (n_windows, n_channels * columns_per_channel, ...) readings; the columns of a channel are
        neighbours on the second axis.
    probability : per window and channel; 0 draws nothing and returns `X` itself.

    Returns
    -------
    Same shape; NaN in all columns and steps of a dropped channel. One channel that a window knows
    is always kept: a window without any reading teaches nothing.
    """
    if probability == 0:
        return X
    dropped = X.copy()
    by_channel = dropped.reshape(len(X), X.shape[1] // columns_per_channel, -1)
    known = ~np.isnan(by_channel).all(axis=2)
    drawn = rng.random(known.shape)
    # The known channel with the largest draw is dropped only if all are: that one stays.
    drawn[np.arange(len(X)), np.where(known, drawn, -1.0).argmax(axis=1)] = 1.0
    by_channel[drawn < probability] = np.nan
    return dropped


def jitter_channels(
    X: npt.NDArray[np.float32], *, scale: float, shift: float, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Augment windows with a random factor and offset per channel, to mimic other devices.

    Parameters
    ----------
    X : (n_windows, n_columns, ...) calibrated readings, steps on the last axis if there are any.
    scale : SD of the log of each window's and column's factor; 0 leaves it out.
    shift : SD of each window's and column's offset, in calibrated units; 0 leaves it out.

    Returns
    -------
    Same shape; the same factor and offset at every step of a window. Unknown stays unknown.
    """
    shape = (*X.shape[:2], *(1 for _ in X.shape[2:]))
    if scale:
        X = X * np.exp(rng.normal(0.0, scale, shape)).astype(np.float32)
    if shift:
        X = X + rng.normal(0.0, shift, shape).astype(np.float32)
    return X

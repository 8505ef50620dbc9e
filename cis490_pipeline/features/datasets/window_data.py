"""Interface of labelled windows for training and prediction, with access by index."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import PHASES
from cis490_pipeline.errors import DatasetError

IN_MEMORY_BYTES = 512 * 2**20
"""Limit on sets held in memory, bytes; larger sets are read in batches."""


def fits_in_memory(n_windows: int, shape: Sequence[int]) -> bool:
    """Whether windows of this number and shape, as float32, fit in memory."""
    return n_windows * int(np.prod(shape)) * np.dtype(np.float32).itemsize <= IN_MEMORY_BYTES


class WindowData(Protocol):
    """Labelled windows in storage order; readings are loaded when taken."""

    def __len__(self) -> int:
        """Return the number of windows."""

    @property
    def y(self) -> npt.NDArray[np.int64]:
        """(n_windows,) class index in ``domain.PHASES``."""

    @property
    def groups(self) -> npt.NDArray[np.str_]:
        """(n_windows,) episode id of each window."""

    @property
    def episode_ids(self) -> Sequence[str]:
        """(n_episodes,) ids of the episodes, in the order of their first windows."""

    @property
    def episode_numbers(self) -> npt.NDArray[np.int32]:
        """(n_windows,) index of each window's episode in ``episode_ids``: ``groups`` in 4 bytes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window: (n_channels, n_steps) of a tensor, (n_features,) of a summary."""

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float32]:
        """Return the windows at ``indices``, in that order: (n_indices, *shape); NaN is unknown."""

    def read_ahead(self, indices: npt.NDArray[np.integer[Any]]) -> None:
        """Prefetch ``indices``; affects only the speed of ``take``."""


Predict = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]]
"""Function from (n_windows, *shape) windows to (n_windows, K) probabilities."""


def predict_in_batches(
    predict: Predict, windows: WindowData, batch: int = 512
) -> npt.NDArray[np.float64]:
    """Predict phase probabilities for a whole set in batches: (n_windows, K)."""
    # Preallocated: small results kept between large batches would fragment the heap.
    proba = np.empty((len(windows), len(PHASES)))
    for start in range(0, len(windows), batch):
        part = np.arange(start, min(start + batch, len(windows)))
        proba[part] = predict(windows.take(part))
    return proba


@dataclass(frozen=True, eq=False)
class HeldWindows:
    """Windows in memory, (n_windows, *shape) float32; NaN is unknown."""

    X: npt.NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window."""
        return tuple(self.X.shape[1:])

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float32]:
        """Return the windows at ``indices``, in that order: (n_indices, *shape)."""
        chosen: npt.NDArray[np.float32] = self.X[indices]
        return chosen

    def read_ahead(self, indices: npt.NDArray[np.integer[Any]]) -> None:
        """Do nothing: in memory there is nothing to wait for."""


@dataclass(frozen=True, eq=False)
class ArrayWindows(HeldWindows):
    """Labelled windows in memory: (n_windows,) class indices, and episode ids as ``groups``."""

    y: npt.NDArray[np.int64]
    groups: npt.NDArray[np.str_]

    def __post_init__(self) -> None:
        """Raise DatasetError if the three lengths differ."""
        if not len(self.X) == len(self.y) == len(self.groups):
            raise DatasetError(
                f"windows, labels and groups must be equally many, got "
                f"{len(self.X)}, {len(self.y)} and {len(self.groups)}"
            )

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.y)

    @property
    def episode_ids(self) -> Sequence[str]:
        """Ids of the episodes, in the order of their first windows."""
        return self._episodes[0]

    @property
    def episode_numbers(self) -> npt.NDArray[np.int32]:
        """(n_windows,) index of each window's episode in ``episode_ids``."""
        return self._episodes[1]

    @cached_property
    def _episodes(self) -> tuple[Sequence[str], npt.NDArray[np.int32]]:
        return number_episodes(self.groups)


def number_episodes(groups: npt.NDArray[np.str_]) -> tuple[Sequence[str], npt.NDArray[np.int32]]:
    """Enumerate (n_windows,) episode ids: the ids by first window, and each window's place."""
    ids, first, number = np.unique(groups, return_index=True, return_inverse=True)
    by_first = np.argsort(first)
    place = np.empty(ids.size, dtype=np.int32)
    place[by_first] = np.arange(ids.size)
    return ids[by_first].tolist(), place[number]

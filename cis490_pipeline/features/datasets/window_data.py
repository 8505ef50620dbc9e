"""What every model trains on and predicts from: windows one can count, label and take by index."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import PHASES
from cis490_pipeline.errors import DatasetError

IN_MEMORY_BYTES = 512 * 2**20
"""Windows up to this size are held in memory; larger sets are read batch by batch."""


def fits_in_memory(n_windows: int, shape: Sequence[int]) -> bool:
    """Whether so many windows, float32 of this shape each, are few enough to be held."""
    return n_windows * int(np.prod(shape)) * np.dtype(np.float32).itemsize <= IN_MEMORY_BYTES


class WindowData(Protocol):
    """Labelled windows in the order they are stored; the readings stay there until taken."""

    def __len__(self) -> int:
        """Return the number of windows."""
        ...

    @property
    def y(self) -> npt.NDArray[np.int64]:
        """(n_windows,) class index, the position in ``domain.PHASES``."""
        ...

    @property
    def groups(self) -> npt.NDArray[np.str_]:
        """(n_windows,) id of the episode each window was cut from."""
        ...

    @property
    def episode_ids(self) -> Sequence[str]:
        """(n_episodes,) ids of the episodes, in the order of their first windows."""
        ...

    @property
    def episode_numbers(self) -> npt.NDArray[np.int32]:
        """(n_windows,) place of each window's episode in ``episode_ids``: ``groups`` in 4 bytes."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window: (n_channels, n_steps) of a tensor, (n_features,) of a summary."""
        ...

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float32]:
        """Windows at ``indices``, in that order: (n_indices, *shape); NaN is unknown."""
        ...

    def read_ahead(self, indices: npt.NDArray[np.integer[Any]]) -> None:
        """Prepare for ``indices`` to be taken soon; changes how fast ``take`` is, nothing else."""
        ...


Predict = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]]
"""Gives (n_windows, K) probabilities of (n_windows, *shape) windows, whatever computes them."""


def predict_in_batches(
    predict: Predict, windows: WindowData, batch: int = 512
) -> npt.NDArray[np.float64]:
    """Probability of each phase for a whole set, read batch by batch: (n_windows, K)."""
    # All of it at once: small results kept between large batches would pin the heap.
    proba = np.empty((len(windows), len(PHASES)))
    for start in range(0, len(windows), batch):
        part = np.arange(start, min(start + batch, len(windows)))
        proba[part] = predict(windows.take(part))
    return proba


@dataclass(frozen=True, eq=False)
class ArrayWindows:
    """Windows held in memory.

    Attributes
    ----------
    X : (n_windows, *shape) float32; NaN is unknown.
    y : (n_windows,) class index.
    groups : (n_windows,) episode ids.
    """

    X: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    groups: npt.NDArray[np.str_]

    def __post_init__(self) -> None:
        """Refuse arrays that do not describe the same windows.

        Raises
        ------
        DatasetError
            If the three lengths differ.
        """
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
        """(n_windows,) place of each window's episode in ``episode_ids``."""
        return self._episodes[1]

    @cached_property
    def _episodes(self) -> tuple[Sequence[str], npt.NDArray[np.int32]]:
        return number_episodes(self.groups)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window."""
        return tuple(self.X.shape[1:])

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float32]:
        """Windows at ``indices``, in that order: (n_indices, *shape)."""
        chosen: npt.NDArray[np.float32] = self.X[indices]
        return chosen

    def read_ahead(self, indices: npt.NDArray[np.integer[Any]]) -> None:
        """Do nothing: in memory there is nothing to wait for."""


def number_episodes(
    groups: npt.NDArray[np.str_],
) -> tuple[Sequence[str], npt.NDArray[np.int32]]:
    """Give episodes numbers in the order of their first windows.

    Parameters
    ----------
    groups : (n_windows,) episode ids.

    Returns
    -------
    (n_episodes,) ids in the order of their first windows, and (n_windows,) places among them.
    """
    ids, first, number = np.unique(groups, return_index=True, return_inverse=True)
    by_first = np.argsort(first)
    place = np.empty(ids.size, dtype=np.int32)
    place[by_first] = np.arange(ids.size)
    return ids[by_first].tolist(), place[number]

"""What every model trains on and predicts from: windows one can count, label and take by index."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cis490_pipeline.errors import DatasetError


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
    def shape(self) -> tuple[int, ...]:
        """Shape of one window: (n_channels, n_steps) of a tensor, (n_features,) of a summary."""
        ...

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float32]:
        """Windows at ``indices``, in that order: (n_indices, *shape); NaN is unknown."""
        ...

    def read_ahead(self, indices: npt.NDArray[np.integer[Any]]) -> None:
        """Prepare for ``indices`` to be taken soon; changes how fast ``take`` is, nothing else."""
        ...


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
    def shape(self) -> tuple[int, ...]:
        """Shape of one window."""
        return tuple(self.X.shape[1:])

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float32]:
        """Windows at ``indices``, in that order: (n_indices, *shape)."""
        chosen: npt.NDArray[np.float32] = self.X[indices]
        return chosen

    def read_ahead(self, indices: npt.NDArray[np.integer[Any]]) -> None:
        """Do nothing: in memory there is nothing to wait for."""

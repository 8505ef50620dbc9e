"""Rows of features of a dataset of tensors, cut from its grids as they are asked for."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.domain.catalogue import FlatKind
from cis490_pipeline.features.channels import channel_indices
from cis490_pipeline.features.columns import STORED, cut_rows
from cis490_pipeline.features.datasets.window_keys import WindowKeys
from cis490_pipeline.features.grids.row_file import RowFile
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.history import HISTORY_STEPS
from cis490_pipeline.features.windows import STEPS, STRIDE_STEPS

Indices = npt.NDArray[np.integer[Any]]

_WINDOWS: Final = 256
"""Cut at a time of one episode: some 13,000 steps, however long the episode is."""


class RowsCutFromGrids:
    """Features of windows, cut from the grids whenever they are taken.

    The values are those of a dataset of features over the same grids, to the bit; what is held does
    not grow with the windows.
    """

    def __init__(
        self, kind: FlatKind, grids: GridStore, keys: WindowKeys, variant: Variant
    ) -> None:
        """Find the episodes; ``keys.row`` holds each window's number in its episode."""
        places = [grids.place(name) for name in keys.episodes["episode_id"]]
        self._files = {shard: grids.rows(shard) for shard in sorted({of for of, _ in places})}
        self._kind, self._places, self._keys = kind, places, keys
        self._channels = channel_indices(variant)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window: (n_features,)."""
        return (self._channels.size * len(STORED[self._kind]),)

    def take(self, indices: Indices) -> Float32s:
        """Rows of the windows at ``indices``, in that order: (n_indices, n_features)."""
        out = np.empty((len(indices), *self.shape), dtype=np.float32)
        for file, row, here, starts in self._by_episode(indices):
            first = max(0, int(starts.min()) - HISTORY_STEPS)
            n_steps = int(starts.max()) + STEPS - first
            (grid,) = file.take(np.array([row + first]), n_steps)
            channels = np.ascontiguousarray(grid[:, self._channels])
            out[here] = cut_rows(self._kind, channels, starts - first)
        return out

    def read_ahead(self, indices: Indices) -> None:
        """Have the steps of these windows read from disk in the background."""
        for file, row, _, starts in self._by_episode(indices):
            file.read_ahead(row + starts, STEPS, HISTORY_STEPS)

    def _by_episode(
        self, indices: Indices
    ) -> Iterator[tuple[RowFile, int, npt.NDArray[np.intp], npt.NDArray[np.int64]]]:
        """Episode by episode: its file and row there, which indices, and where they start."""
        episodes = self._keys.episode_index[indices]
        for number in np.unique(episodes):
            shard, row = self._places[number]
            of_episode = np.flatnonzero(episodes == number)
            for k in range(0, of_episode.size, _WINDOWS):
                here = of_episode[k : k + _WINDOWS]
                starts = self._keys.row[indices[here]].astype(np.int64) * STRIDE_STEPS
                yield self._files[shard], row, here, starts

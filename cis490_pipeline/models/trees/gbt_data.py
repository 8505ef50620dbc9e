"""Data iterator for XGBoost: batches of windows, stored as histogram bins in memory or on disk."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from cis490_pipeline.features.datasets.window_data import WindowData
from cis490_pipeline.training.augmentation import drop_channels

READ_WINDOWS = 16_384
"""Windows per batch for XGBoost, which keeps only their histogram bins, one page on disk each."""


@contextmanager
def pages_folder(beside: Path | None) -> Iterator[Path]:
    """Create a temporary folder for pages, removed at the end of the block.

    It becomes ``<stem>.pages`` beside a file, and remains of a killed training are removed first;
    without a file it is one of the system's.
    """
    if beside is None:
        with tempfile.TemporaryDirectory(prefix="cis490-pages-") as temporary:
            yield Path(temporary)
        return
    folder = beside.with_suffix(".pages")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


class WindowBatches(xgb.DataIter):
    """Windows in order with class weights, some repeated with a source and channels masked.

    Parameters
    ----------
    weights : (n_classes,) weight of a window of each class.
    sources : columns of each source that may be masked.
    columns_per_channel : neighbouring columns that a channel has.
    source_dropout : share of the windows repeated with a masked source, per source.
    channel_dropout : probability of masking a channel in a repeated window.
    pages : path prefix of the pages; None keeps them in memory.
    """

    def __init__(
        self,
        windows: WindowData,
        weights: npt.NDArray[np.float64],
        *,
        sources: tuple[slice, ...] = (),
        columns_per_channel: int = 1,
        source_dropout: float = 0.0,
        channel_dropout: float = 0.0,
        seed: int = 0,
        pages: Path | None = None,
    ) -> None:
        super().__init__(cache_prefix=None if pages is None else str(pages))
        self.windows, self.weights = windows, weights
        # Without its only source a window would be empty, and none is predicted from such a one.
        unmasked = (slice(0, 0),) if channel_dropout else ()
        self.sources = sources if len(sources) > 1 else unmasked
        self.source_dropout, self.channel_dropout = source_dropout, channel_dropout
        self.columns_per_channel, self.seed = columns_per_channel, seed
        self.start = 0

    def matrix(self, ref: xgb.DMatrix | None, *, threads: int) -> xgb.DMatrix:
        """Bin all windows, with the bins of ``ref`` if it is given."""
        of_kind = xgb.ExtMemQuantileDMatrix if self.cache_prefix else xgb.QuantileDMatrix
        return of_kind(self, ref=ref, nthread=threads)

    def reset(self) -> None:
        """Restart the iteration; XGBoost makes several passes."""
        self.start = 0

    def next(self, input_data: Callable[..., None]) -> bool:
        """Pass the next windows to XGBoost; False at the end."""
        if self.start >= len(self.windows):
            return False
        indices = np.arange(self.start, min(self.start + READ_WINDOWS, len(self.windows)))
        X, y = self.windows.take(indices), self.windows.y[indices]
        # Seeded by the batch's position, so that every pass sees the same copies.
        # Separate random streams, so that the same windows are repeated without dropped channels.
        rng = np.random.default_rng([self.seed, self.start])
        channel_rng = np.random.default_rng([self.seed, self.start, 1])
        copies, labels = [X], [y]
        for columns in self.sources:
            chosen = rng.random(len(X)) < self.source_dropout
            blind = X[chosen].copy()
            blind[:, columns] = np.nan
            copies.append(
                drop_channels(blind, self.channel_dropout, self.columns_per_channel, channel_rng)
            )
            labels.append(y[chosen])
        label = np.concatenate(labels)
        input_data(data=np.concatenate(copies), label=label, weight=self.weights[label])
        self.start += READ_WINDOWS
        return True

"""How windows reach XGBoost: in pieces, as histogram bins, in memory or in pages on disk."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from cis490_pipeline.features.datasets.window_data import WindowData

READ_WINDOWS = 16_384
"""Windows handed to XGBoost at a time; it keeps only their histogram bins, a page on disk."""


@contextmanager
def pages_folder(beside: Path | None) -> Iterator[Path]:
    """Folder for pages; gone with all that is in it at the end of the block, whatever happens.

    Parameters
    ----------
    beside : a file on the disk to use; its folder gets ``<stem>.pages``, and what a killed training
        left there is removed first. None: the system's folder for temporary files.
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
    """Windows read in order, some once more without a source, with their weights."""

    def __init__(
        self,
        windows: WindowData,
        weights: npt.NDArray[np.float64],
        *,
        sources: tuple[slice, ...] = (),
        source_dropout: float = 0.0,
        seed: int = 0,
        pages: Path | None = None,
    ) -> None:
        """Read nothing yet.

        Parameters
        ----------
        windows : summaries.
        weights : (n_classes,) of a window of each class.
        sources : columns of each source that a copy may lack.
        source_dropout : share of the windows that enter once more without a source, for each.
        seed : of which windows these are.
        pages : where pages are kept, as a path their names begin with; None keeps them in memory.
        """
        super().__init__(cache_prefix=None if pages is None else str(pages))
        self.windows, self.weights = windows, weights
        self.sources, self.source_dropout, self.seed = sources, source_dropout, seed
        self.start = 0

    def matrix(self, ref: xgb.DMatrix | None, *, threads: int) -> xgb.DMatrix:
        """Read all windows into their histogram bins.

        Parameters
        ----------
        ref : the matrix whose bins are used; None finds bins.
        threads : to read with.
        """
        of_kind = xgb.ExtMemQuantileDMatrix if self.cache_prefix else xgb.QuantileDMatrix
        return of_kind(self, ref=ref, nthread=threads)

    def reset(self) -> None:
        """Begin again; XGBoost reads everything several times."""
        self.start = 0

    def next(self, input_data: Callable[..., None]) -> bool:
        """Hand over the next windows; False when there are none."""
        if self.start >= len(self.windows):
            return False
        indices = np.arange(self.start, min(self.start + READ_WINDOWS, len(self.windows)))
        X, y = self.windows.take(indices), self.windows.y[indices]
        # Drawn from where the batch starts: every pass over the data must see the same copies.
        rng = np.random.default_rng([self.seed, self.start])
        copies, labels = [X], [y]
        for columns in self.sources:
            chosen = rng.random(len(X)) < self.source_dropout
            blind = X[chosen].copy()
            blind[:, columns] = np.nan
            copies.append(blind)
            labels.append(y[chosen])
        label = np.concatenate(labels)
        input_data(data=np.concatenate(copies), label=label, weight=self.weights[label])
        self.start += READ_WINDOWS
        return True

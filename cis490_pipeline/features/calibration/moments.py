"""Streaming mean and standard deviation of known values."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.domain.catalogue import InputKind
from cis490_pipeline.errors import CalibrationError
from cis490_pipeline.features.columns import STORED
from cis490_pipeline.features.summary import STATISTICS, known_quantile

Batch = tuple[Float32s, Float32s, Float32s]
"""Windows (n, *shape), with the baseline median and IQR of each device, (n, n_channels)."""


class Moments:
    """Mean and standard deviation of known values by column, accumulated over batches."""

    def __init__(self, n_columns: int) -> None:
        self._count = np.zeros(n_columns)
        self._total = np.zeros(n_columns)
        self._square = np.zeros(n_columns)
        self._origin: npt.NDArray[np.float64] | None = None

    def add(self, values: Float32s) -> None:
        """Add (n, n_columns) values; NaN is unknown."""
        known = ~np.isnan(values)
        if self._origin is None:
            # Sums of squares far from zero lose digits; any typical value serves as the origin.
            n = np.maximum(known.sum(axis=0), 1)
            self._origin = np.where(known, values, 0).sum(axis=0, dtype=np.float64) / n
        centred = np.where(known, values - self._origin, 0.0)
        self._count += known.sum(axis=0)
        self._total += centred.sum(axis=0)
        self._square += np.square(centred).sum(axis=0)

    def mean(self) -> npt.NDArray[np.float64]:
        """(n_columns,) mean; NaN for columns without known values."""
        if self._origin is None:
            raise CalibrationError("no train window to fit a calibrator on")
        return self._origin + self._total / self._known()

    def sd(self) -> npt.NDArray[np.float64]:
        """(n_columns,) standard deviation; NaN for columns without known values."""
        variance = self._square / self._known() - np.square(self._total / self._known())
        sd: npt.NDArray[np.float64] = np.sqrt(np.maximum(variance, 0.0))
        return sd

    def _known(self) -> npt.NDArray[np.float64]:
        return np.where(self._count > 0, self._count, np.nan)


def columns_last(kind: InputKind, X: Float32s) -> Float32s:
    """(n, n_channels, n_steps) -> (n × n_steps, n_channels); rows of features unchanged."""
    return X.transpose(0, 2, 1).reshape(-1, X.shape[1]) if kind == "tensor" else X


def channel_sd(kind: InputKind, windows: Iterable[Batch]) -> npt.NDArray[np.float64]:
    """Compute the SD of each channel's log1p values over all train windows: (n_channels,)."""
    values: Moments | None = None
    within: Moments | None = None
    for X, median, _ in windows:
        if values is None:
            values, within = Moments(median.shape[-1]), Moments(median.shape[-1])
        if kind == "tensor":
            values.add(columns_last(kind, X))
            continue
        # Law of total variance: variance of the windows' means plus mean of their variances.
        statistics = X.reshape(len(X), -1, len(STORED[kind]))
        values.add(statistics[..., STATISTICS.index("mean")])
        assert within is not None
        within.add(np.square(statistics[..., STATISTICS.index("std")]))
    if values is None or within is None:
        raise CalibrationError("no train window to fit a calibrator on")
    if kind == "tensor":
        return values.sd()
    total: npt.NDArray[np.float64] = np.sqrt(np.square(values.sd()) + within.mean())
    return total


def known_median(x: Float32s) -> npt.NDArray[np.float64]:
    """Compute the median of each channel's known values: (n_channels,); NaN if there is none."""
    ascending = np.sort(x.T, axis=-1)
    return known_quantile(ascending, (~np.isnan(ascending)).sum(axis=-1), 0.5)

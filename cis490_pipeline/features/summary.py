"""Summary features: five statistics per channel and window, for trees and the MLP."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import Variant
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.resample import GRID_HZ

STATISTICS: Final = ("mean", "std", "p95", "slope", "zero_fraction")

# Windows per chunk, so that a chunk fits the processor's cache as float64.
_CHUNK: Final = 32
_CHUNK_ROWS: Final = 4096


def summary_names(variant: Variant) -> tuple[str, ...]:
    """Return the column names, channel-major: ``proc.cpu_user_jiffies:mean``, ``…:std``, …."""
    return tuple(f"{name}:{s}" for name in channel_names(variant) for s in STATISTICS)


def summary_columns(channels: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return the positions of some channels' statistics among all 230 columns."""
    n = len(STATISTICS)
    return (channels[:, None] * n + np.arange(n)).ravel()


def summarize(windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute the statistics of each channel over the known steps of each window.

    Parameters
    ----------
    windows : (n_windows, n_steps, n_channels) time-major log1p values; NaN is unknown.

    Returns
    -------
    (n_windows, n_channels × 5) channel-major: mean; standard deviation (over n); 95th percentile
    (linear, as numpy's); least-squares slope per second; share of steps that are exactly zero.
    NaN where no step is known, and for the slope where fewer than two are.

    Notes
    -----
    Percentiles are computed by sorting (8 times as fast as numpy's percentile). Sums are in float64
    relative to a value of the window (a float32 dot product has an error of 8e-3 in the slope). A
    window's result is bit-identical whichever windows it is summarized with.
    """
    n_windows, _, n_channels = windows.shape
    out = np.empty((n_windows, n_channels, len(STATISTICS)), dtype=np.float32)
    for first in range(0, n_windows, _CHUNK):
        chunk = windows[first : first + _CHUNK]
        out[first : first + _CHUNK] = _of_known(np.ascontiguousarray(chunk.transpose(0, 2, 1)))
    # An unknown step makes its channel's mean NaN; those few channels are recomputed with a mask.
    window, channel = np.nonzero(np.isnan(out[..., 0]))
    for first in range(0, window.size, _CHUNK_ROWS):
        rows = window[first : first + _CHUNK_ROWS], channel[first : first + _CHUNK_ROWS]
        out[rows] = _of_partly_known(windows[rows[0], :, rows[1]])
    return out.reshape(n_windows, n_channels * len(STATISTICS))


def known_quantile(
    ascending: npt.NDArray[np.floating], n_known: npt.NDArray[np.intp], q: float
) -> npt.NDArray[np.float64]:
    """Linear quantile along the last axis of sorted values, with unknown (NaN) values last.

    Parameters
    ----------
    ascending : (…, n) values sorted along the last axis, NaN last, as ``np.sort`` leaves them.
    n_known : (…,) number of known values; the quantile is NaN if none is.
    """
    place = q * np.maximum(n_known - 1, 0)
    low = np.floor(place).astype(np.intp)
    high = np.ceil(place).astype(np.intp)
    at_low = np.take_along_axis(ascending, low[..., None], axis=-1)[..., 0].astype(np.float64)
    at_high = np.take_along_axis(ascending, high[..., None], axis=-1)[..., 0].astype(np.float64)
    return at_low + (place - low) * (at_high - at_low)


def _of_known(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Statistics of fully known rows: (…, n_steps) -> (…, 5); the mean of others is NaN."""
    ascending = np.sort(x, axis=-1)
    n_steps = x.shape[-1]
    # Relative to its first value, a constant row has exactly zero spread, and others lose at most
    # two digits in the difference of squares.
    first = x[..., :1].astype(np.float64)
    shifted = x.astype(np.float64)
    shifted -= first
    mean = np.vecdot(shifted, np.ones(n_steps)) / n_steps
    std = np.sqrt(np.maximum(np.vecdot(shifted, shifted) / n_steps - np.square(mean), 0.0))
    from_centre = (np.arange(n_steps) - (n_steps - 1) / 2) / GRID_HZ
    spread = np.square(from_centre).sum() if n_steps > 1 else np.nan
    slope = np.vecdot(shifted, from_centre) / spread
    place = 0.95 * (n_steps - 1)
    low, high = (ascending[..., f(place)].astype(np.float64) for f in (math.floor, math.ceil))
    p95 = low + (place - math.floor(place)) * (high - low)
    n_zero = np.vecdot((x == 0).astype(np.float32), np.ones(n_steps, dtype=np.float32))
    return np.stack([first[..., 0] + mean, std, p95, slope, n_zero / n_steps], axis=-1)


def _of_partly_known(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Statistics over the known steps of rows: (n_rows, n_steps) -> (n_rows, 5)."""
    known = ~np.isnan(x)
    n_known = known.sum(axis=-1)
    # NaN instead of a division by zero for channels without known steps.
    count = np.where(n_known > 0, n_known, np.nan)
    values = np.where(known, x, 0).astype(np.float64)
    mean = values.sum(axis=-1) / count
    centred = np.where(known, values - mean[..., None], 0.0)
    std = np.sqrt(np.square(centred).sum(axis=-1) / count)

    seconds = np.arange(x.shape[-1]) / GRID_HZ
    middle = (known * seconds).sum(axis=-1) / count
    from_centre = np.where(known, seconds - middle[..., None], 0.0)
    spread = np.square(from_centre).sum(axis=-1)
    slope = (centred * from_centre).sum(axis=-1) / np.where(n_known > 1, spread, np.nan)

    p95 = known_quantile(np.sort(x, axis=-1), n_known, 0.95)
    zero_fraction = ((x == 0) & known).sum(axis=-1) / count
    return np.stack([mean, std, p95, slope, zero_fraction], axis=-1)

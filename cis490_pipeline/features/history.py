"""History features: per channel the statistics, five 2-s means and the two 10-s means before them.

The five statistics are of log1p values, where a step of 1 % in memory is invisible. The means are
of linear values: relative to the device's clean level and squashed by asinh(d / quantum), changes
near the channel's quantum are resolved, and large ones grow with their logarithm.
"""

from collections.abc import Iterable
from functools import reduce
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import Channel, Kind, Variant
from cis490_pipeline.domain.arrays import Float32s, Floats
from cis490_pipeline.features.channels import variant_channels
from cis490_pipeline.features.summary import STATISTICS, summarize
from cis490_pipeline.features.windows import STEPS, cut_windows

N_BINS: Final = 5
LAGS_S: Final = (10, 20)
"""How long before the window's end the earlier means end, s; each is over 10 s."""
KNOWN_SHARE: Final = 0.75
"""Share of a lag's steps that must be known. A device read live may have rows of the seconds before
a recording's first label, which the recording's grid has not: neither fills three quarters."""

BINS: Final = tuple(f"bin_{i + 1}" for i in range(N_BINS))
LAGS: Final = tuple(f"lag_{s}s" for s in LAGS_S)
CHANGES: Final = tuple(f"since_{s}s" for s in LAGS_S)
STORED: Final = (*STATISTICS, *BINS, *LAGS)
"""Columns of a channel as they are stored, uncalibrated."""
CALIBRATED: Final = (*STORED, *CHANGES)
"""Columns of a channel as a model gets them."""

HISTORY_STEPS: Final = len(LAGS_S) * STEPS
"""Steps before a window that its lags are of: 20 s."""
LARGEST: Final = 80.0
"""Limit on the log1p values, above any counter's: their linear means must fit a float32."""

_OWN_QUANTA: Final = {"guest.load_1m": 0.05, "guest.mem_dirty_bytes": 16_384.0}
_BYTES: Final = {Kind.GAUGE: 262_144.0, Kind.COUNTER: 100.0, Kind.AMOUNT: 100.0}
_OTHERS: Final = 1.0

_BLOCK: Final = 10
"""Steps summed once for all means: the divisor of a bin's 20 steps and the stride's 50."""
_PER_BIN: Final = STEPS // N_BINS // _BLOCK


def quantum(channel: Channel) -> float:
    """Smallest change of a channel that matters, in its unit (of a rate: per second).

    Memory moves by pages and by caches of some 100 kB, traffic by packets of about 100 bytes, load
    by 1/20 of a process; of all else, one per second.
    """
    of_unit = _BYTES[channel.kind] if channel.unit == "bytes" else _OTHERS
    return _OWN_QUANTA.get(channel.name, of_unit)


def quanta(variant: Variant) -> Floats:
    """Return the quanta of the variant's channels, in axis order: (n_channels,)."""
    return np.array([quantum(channel) for channel in variant_channels(variant)])


def history(grid: Float32s, starts: npt.NDArray[np.int64]) -> Float32s:
    """Compute the uncalibrated features of some windows of one grid.

    Parameters
    ----------
    grid : (n_steps, n_channels) time-major log1p values; NaN is unknown, as is what lies before.
    starts : (n_windows,) first step of each window, a multiple of 10.

    Returns
    -------
    (n_windows, n_channels × 12) channel-major: the five statistics of ``summarize``; the linear
    mean over the known steps of each fifth of the window; the linear means of the 10 s before the
    window, and of the 10 s before those, NaN unless three quarters of their steps are known.

    Notes
    -----
    No value depends on steps after its window, nor on more than 20 s before it, and each is added
    up in a fixed order: a live window's features are bit-identical to the recording's.
    """
    if (starts % _BLOCK).any():
        raise ValueError(f"windows must start at multiples of {_BLOCK} steps, got {starts}")
    n_windows, n_channels = starts.size, grid.shape[1]
    out = np.empty((n_windows, n_channels, len(STORED)), dtype=np.float32)
    n_statistics = len(STATISTICS)
    statistics = summarize(cut_windows(grid, starts))
    out[..., :n_statistics] = statistics.reshape(n_windows, n_channels, n_statistics)
    out[..., n_statistics:] = _means(grid, starts).transpose(0, 2, 1)
    return out.reshape(n_windows, n_channels * len(STORED))


def linear_level(median: Float32s) -> Floats:
    """Return the linear value of a baseline's log1p median."""
    level: Floats = np.expm1(np.minimum(median.astype(np.float64), LARGEST))
    return level


def squashed(means: Float32s, baseline: Floats, of_quanta: Floats) -> Float32s:
    """Relate a window's means to the baseline and to the past, in squashed units.

    Parameters
    ----------
    means : (…, n_channels, 7) linear means: five bins, then two lags.
    baseline : (…, n_channels) linear clean level.
    of_quanta : (n_channels,).

    Returns
    -------
    (…, n_channels, 9): asinh((mean − baseline) / quantum) of bins and lags, then
    asinh((mean of the window's known bins − lag) / quantum) of both lags; NaN where unknown.
    """
    linear, per = means.astype(np.float64), of_quanta[:, None]
    from_baseline = np.arcsinh((linear - baseline[..., None]) / per)
    bins, lags = linear[..., :N_BINS], linear[..., N_BINS:]
    since = np.arcsinh((_mean_of_known(bins)[..., None] - lags) / per)
    relative: Float32s = np.concatenate([from_baseline, since], axis=-1).astype(np.float32)
    return relative


def _means(grid: Float32s, starts: npt.NDArray[np.int64]) -> Floats:
    """Linear means of the bins and the lags: (n_windows, 7, n_channels)."""
    total, count = _bin_sums(grid, starts)
    columns = [_ratio(total[:, -N_BINS:], count[:, -N_BINS:], 1)]
    for i in range(len(LAGS_S)):
        end = total.shape[1] - N_BINS * (i + 1)
        of_lag = range(end - N_BINS, end)
        sums, known = (_in_order(of[:, [k]] for k in of_lag) for of in (total, count))
        columns.append(_ratio(sums, known, KNOWN_SHARE * STEPS))
    return np.concatenate(columns, axis=1)


def _bin_sums(grid: Float32s, starts: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Add up and count the known steps of each 2 s from 20 s before each window to its end.

    Returns
    -------
    Two arrays (n_windows, 15, n_channels). Steps before the grid are unknown.
    """
    n_blocks, n_channels = len(grid) // _BLOCK, grid.shape[1]
    steps = grid[: n_blocks * _BLOCK].reshape(n_blocks, _BLOCK, n_channels).astype(np.float64)
    known = ~np.isnan(steps)
    linear = np.where(known, np.expm1(np.minimum(steps, LARGEST)), 0.0)
    before = np.zeros((HISTORY_STEPS // _BLOCK, n_channels))
    first = starts[:, None] // _BLOCK + _PER_BIN * np.arange(N_BINS * (1 + len(LAGS_S)))
    sums = []
    for values in (linear, known.astype(np.float64)):
        of_blocks = _in_order(values[:, k] for k in range(_BLOCK))
        blocks = np.concatenate([before, of_blocks])
        sums.append(_in_order(blocks[first + k] for k in range(_PER_BIN)))
    return sums[0], sums[1]


def _in_order(parts: Iterable[Floats]) -> Floats:
    """Add arrays one after another: numpy's own sums round differently by memory layout."""
    total: Floats = reduce(np.add, parts)
    return total


def _mean_of_known(bins: Floats) -> Floats:
    """(…, 5) -> (…,): mean of the known bins; NaN if none is."""
    known = ~np.isnan(bins)
    total = _in_order(np.where(known, bins, 0.0)[..., k] for k in range(N_BINS))
    return _ratio(total, known.sum(axis=-1), 1)


def _ratio(total: Floats, count: npt.NDArray[Any], least: float) -> Floats:
    """Mean where at least so many steps are known, else NaN."""
    mean: Floats = total / np.where(count >= least, count, np.nan)
    return mean

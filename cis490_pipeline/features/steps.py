"""Steps of channels at given times: the mean of some seconds after less that of as many before."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from cis490_pipeline.domain import CHANNELS, Channel, Kind
from cis490_pipeline.domain.arrays import Float32s, Floats, Ints
from cis490_pipeline.features.resample import GRID_HZ, STEP_NS

SIDE_S: Final = 5.0
"""Seconds before and after a time that its step compares."""
_SIDE_STEPS: Final = int(SIDE_S * GRID_HZ)
_LEAST_KNOWN: Final = _SIDE_STEPS // 2
_PAGE_BYTES: Final = 4096.0


def step_changes(grid: Float32s, t0_ns: int, times_ns: Sequence[int] | Ints) -> Floats:
    """Step of each channel at each time, in linear units: (n_times, n_channels).

    Parameters
    ----------
    grid : (n_steps, n_channels) log1p on the 10 Hz grid, as ``episode_grid`` gives it.
    t0_ns : start of the grid, Unix ns.
    times_ns : (n_times,) Unix ns; a grid step that holds one belongs to what is after it.

    Returns
    -------
    Mean over the 5 s from the time on, less the mean over the 5 s before, in the channel's unit
    (per second for counters and amounts); NaN where less than half of either side is known, or
    where the grid does not reach so far.
    """
    at = (np.asarray(times_ns, dtype=np.int64) - t0_ns) // STEP_NS
    inside = (at >= _SIDE_STEPS) & (at + _SIDE_STEPS <= len(grid))
    steps = np.full((at.size, grid.shape[1]), np.nan)
    around = at[inside, None] + np.arange(-_SIDE_STEPS, _SIDE_STEPS)
    values = np.expm1(grid[around].astype(np.float64))
    before, after = values[:, :_SIDE_STEPS], values[:, _SIDE_STEPS:]
    steps[inside] = _mean_of_known(after) - _mean_of_known(before)
    return steps


def _mean_of_known(values: Floats) -> Floats:
    """(n, steps, channels) -> (n, channels); NaN where less than half is known."""
    known = ~np.isnan(values)
    n_known = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    mean = np.full(total.shape, np.nan)
    np.divide(total, n_known, out=mean, where=n_known >= _LEAST_KNOWN)
    return mean


def resolution(channel: Channel) -> float:
    """Smallest step that a channel can well show, in its unit: one page, or one count in 5 s.

    Steps in such units, squashed by asinh, keep a step of two pages linear and let no burst of
    megabytes outweigh all others. In log1p a page of a large gauge nearly vanishes beside a burst.
    """
    if channel.is_float:
        return 0.01
    if channel.kind is Kind.GAUGE:
        return _PAGE_BYTES if channel.unit == "bytes" else 1 / SIDE_S
    # Bytes come in packets and blocks; the smallest packet has about 60.
    return (60.0 if channel.unit == "bytes" else 1.0) / SIDE_S


RESOLUTIONS: Final = np.array([resolution(channel) for channel in CHANNELS])
"""(46,) of all channels, in axis order."""


def unit_of_steps(channel: Channel) -> str:
    """Return the unit of a channel's steps: its own, per second for counters and amounts."""
    return channel.unit if channel.kind is Kind.GAUGE else f"{channel.unit}/s"

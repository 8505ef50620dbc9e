"""Drift of a watched device away from what was learnt: medians of a day against the baseline.

A baseline grows old: software is updated, a device gets another job. Models then judge distances
that mean nothing. The monitor compares medians with medians, so that bursts and single alarms do
not count, and asks for a new learning time; it never takes one by itself.
"""

from collections import deque
from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import NS_PER_S, Variant
from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.live.calibration import Baseline

HOUR_NS: Final = 3600 * NS_PER_S
DAY_HOURS: Final = 24
MIN_HOURS: Final = 6
"""Hours with windows that a judgement takes."""
MIN_WINDOWS: Final = 60
"""Windows that make an hour count: 5 minutes."""
SHIFT: Final = 2.0
"""Distance from the baseline's median, in scales, beyond which a channel has moved."""
SHARE: Final = 0.2
"""Share of the known channels that must have moved."""
_NAMED: Final = 3


class DriftMonitor:
    """Running medians of the hours of a day, in bounded memory.

    Notes
    -----
    The scale of a channel is max(IQR of the baseline, `floor`), as in the calibrator. A channel's
    day is the median of its hours, each the median of its windows' medians.

    Parameters
    ----------
    channels : indices into the 46 channels, of those to compare.
    floor : (n_channels,) minimal scales, from the calibrator of the leading model.
    """

    def __init__(self, channels: npt.NDArray[np.integer], floor: Float32s) -> None:
        self._channels, self._floor = channels, floor
        self._baseline: Baseline | None = None
        self._hours: deque[Float32s] = deque(maxlen=DAY_HOURS)
        self._windows: list[Float32s] = []
        self._hour_ends_ns: int | None = None
        self._reported = False

    def use(self, baseline: Baseline) -> None:
        """Compare with a baseline; a new one starts the comparison from nothing."""
        if baseline is self._baseline:
            return
        self._baseline = baseline
        self._hours.clear()
        self._windows = []
        self._hour_ends_ns, self._reported = None, False

    def add(self, grid: Float32s, t_end_ns: int) -> str | None:
        """Take a window; return what to say if the device has drifted, once.

        Parameters
        ----------
        grid : (100, 46) log1p values.
        t_end_ns : end of the window, device time, Unix ns.
        """
        if self._baseline is None:
            return None
        if self._hour_ends_ns is None:
            self._hour_ends_ns = t_end_ns + HOUR_NS
        text = None
        if t_end_ns >= self._hour_ends_ns:
            self._close_hour()
            self._hour_ends_ns = t_end_ns + HOUR_NS
            text = self._judge()
        self._windows.append(_known_median(grid[:, self._channels]))
        return text

    def shift(self) -> Float32s:
        """Distance of the day's medians from the baseline's, in scales: (n_channels,), or NaN."""
        if self._baseline is None or not self._hours:
            return np.full(len(self._channels), np.nan, dtype=np.float32)
        median = self._baseline.median[self._channels]
        iqr = np.nan_to_num(self._baseline.iqr[self._channels])
        day = _known_median(np.stack(self._hours))
        shift: Float32s = (day - median) / np.maximum(iqr, self._floor)
        return shift

    def _close_hour(self) -> None:
        if len(self._windows) >= MIN_WINDOWS:
            self._hours.append(_known_median(np.stack(self._windows)))
        self._windows = []

    def _judge(self) -> str | None:
        if len(self._hours) < MIN_HOURS:
            return None
        shift = self.shift()
        known = np.isfinite(shift)
        moved = np.abs(np.nan_to_num(shift)) > SHIFT
        drifted = bool(known.any()) and moved.sum() >= SHARE * known.sum()
        if not drifted:
            self._reported = False
            return None
        if self._reported:
            return None
        self._reported = True
        names = channel_names(Variant.ORACLE)
        farthest = np.argsort(-np.abs(np.nan_to_num(shift)))[:_NAMED]
        named = ", ".join(names[self._channels[i]] for i in farthest)
        return (
            f"drifted: {moved.sum()} of {known.sum()} channels have moved away from what was "
            f"learnt (most: {named}); learn again while the device is known to be clean"
        )


def _known_median(values: Float32s) -> Float32s:
    """Median over the first axis of what is known; NaN where nothing is."""
    known = np.isfinite(values).any(axis=0)
    filled = np.where(known, values, np.float32(0))
    median: Float32s = np.where(known, np.nanmedian(filled, axis=0), np.nan).astype(np.float32)
    return median

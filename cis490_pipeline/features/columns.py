"""Columns of each kind of input: per channel, stored in a dataset and calibrated for a model."""

from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.domain.catalogue import FlatKind, InputKind
from cis490_pipeline.features import history
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.summary import STATISTICS, summarize
from cis490_pipeline.features.windows import STEPS, cut_windows

STORED: Final[dict[FlatKind, tuple[str, ...]]] = {
    "summary": STATISTICS,
    "history": history.STORED,
}
"""Columns of a channel in a dataset. Those of summaries come first in each, so that whatever reads
summaries can read them from either dataset."""

CALIBRATED: Final[dict[FlatKind, tuple[str, ...]]] = {
    "summary": STATISTICS,
    "history": history.CALIBRATED,
}
"""Columns of a channel as a model gets them."""


def per_channel(kind: InputKind) -> int:
    """Return the number of calibrated columns of a channel; 1 for tensors."""
    return 1 if kind == "tensor" else len(CALIBRATED[kind])


def calibrated_shape(kind: InputKind, n_channels: int) -> tuple[int, ...]:
    """Return the shape of one calibrated window."""
    return (n_channels, STEPS) if kind == "tensor" else (n_channels * per_channel(kind),)


def stored_names(kind: FlatKind, variant: Variant) -> tuple[str, ...]:
    """Return a dataset's columns, channel-major: ``proc.cpu_user_jiffies:mean``, ``…:std``, …."""
    return tuple(f"{name}:{c}" for name in channel_names(variant) for c in STORED[kind])


def calibrated_names(kind: FlatKind, variant: Variant) -> tuple[str, ...]:
    """Return the columns a model gets, channel-major."""
    return tuple(f"{name}:{c}" for name in channel_names(variant) for c in CALIBRATED[kind])


def stored_columns(
    kind: FlatKind, channels: npt.NDArray[np.intp], among: FlatKind
) -> npt.NDArray[np.intp]:
    """Return where some channels' columns of a kind lie in the rows of a dataset of another.

    Raises
    ------
    ValueError
        If that dataset does not hold them: history in summaries.
    """
    n, n_among = len(STORED[kind]), len(STORED[among])
    if n > n_among:
        raise ValueError(f"{among} rows do not hold the columns of {kind}")
    return (channels[:, None] * n_among + np.arange(n)).ravel()


def calibrated_columns(kind: FlatKind, channels: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return where some channels' columns lie in the calibrated rows of a kind."""
    n = len(CALIBRATED[kind])
    return (channels[:, None] * n + np.arange(n)).ravel()


def cut_rows(kind: FlatKind, grid: Float32s, starts: npt.NDArray[np.int64]) -> Float32s:
    """Compute the uncalibrated rows of some windows of one grid: (n_windows, n_columns)."""
    if kind == "history":
        return history.history(grid, starts)
    return summarize(cut_windows(grid, starts))

"""Gauges that creep after a start: what a calibrator may do so that they do not tell the time.

Memory and load levels rise or fall for minutes after a boot or a restored snapshot, whatever the
device does. A model that is given the level can read from it how long the recording has lasted.
"""

from enum import StrEnum
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.catalogue import InputKind
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.resample import GRID_HZ
from cis490_pipeline.features.summary import STATISTICS
from cis490_pipeline.features.windows import STEPS

Array = npt.NDArray[np.float32]

DRIFTING: Final = (
    "proc.rss_bytes",
    "guest.load_1m",
    "guest.mem_available_bytes",
    "guest.mem_cached_bytes",
    "guest.mem_dirty_bytes",
    "guest.top_rss_bytes",
)
"""The channels that creep, by name."""

_SECONDS: Final = (np.arange(STEPS) - (STEPS - 1) / 2) / GRID_HZ


class GaugeTreatment(StrEnum):
    """What a model sees of the drifting gauges."""

    RECORDED = "recorded"
    """Their level relative to the baseline, like any other channel's."""
    CENTRED = "centred"
    """Relative to the window's own mean: no level, only what happens within the 10 s."""
    DETRENDED = "detrended"
    """Relative to the straight line fitted to the window: neither level nor slope."""
    DROPPED = "dropped"
    """Nothing: zero wherever they are known."""


@cache
def drifting_channels(variant: Variant) -> tuple[int, ...]:
    """Places of the drifting gauges on the variant's channel axis, ascending."""
    return tuple(i for i, name in enumerate(channel_names(variant)) if name in DRIFTING)


def treat_gauges(
    relative: Array, kind: InputKind, variant: Variant, treatment: GaugeTreatment
) -> Array:
    """Take from the drifting gauges what the treatment takes; other channels stay as they are.

    Parameters
    ----------
    relative : windows relative to their baseline: (n, n_channels, n_steps) tensors or
        (n, n_channels × 5) summaries.
    kind, variant : what the windows are.
    treatment : what is left of the gauges.

    Returns
    -------
    Of the same shape; unknown (NaN) stays unknown. Summaries follow as those of the treated values
    would, but for the 95th percentile of a detrended gauge, which they cannot tell: it is zero.
    """
    channels = list(drifting_channels(variant))
    if treatment is GaugeTreatment.RECORDED or not channels:
        return relative
    if kind == "tensor":
        treated = relative.copy()
        treated[:, channels] = _treated_steps(relative[:, channels], treatment)
        return treated
    treated = relative.copy()
    statistics = treated.reshape(*relative.shape[:-1], -1, len(STATISTICS))
    statistics[..., channels, :] = _treated_statistics(statistics[..., channels, :], treatment)
    return treated


def _treated_steps(x: Array, treatment: GaugeTreatment) -> Array:
    """(n, n_gauges, n_steps) values of the treated gauges."""
    if treatment is GaugeTreatment.DROPPED:
        nothing: Array = x * np.float32(0)
        return nothing
    known = ~np.isnan(x)
    count = np.maximum(known.sum(axis=-1, keepdims=True), 1)
    values = np.where(known, x, 0).astype(np.float64)
    centred = x - values.sum(axis=-1, keepdims=True) / count
    if treatment is GaugeTreatment.CENTRED:
        without_level: Array = centred.astype(np.float32)
        return without_level
    middle = (known * _SECONDS).sum(axis=-1, keepdims=True) / count
    seconds = np.where(known, _SECONDS - middle, 0.0)
    spread = np.square(seconds).sum(axis=-1, keepdims=True)
    product = (np.where(known, centred, 0.0) * seconds).sum(axis=-1, keepdims=True)
    slope = product / np.where(spread > 0, spread, 1.0)
    detrended: Array = (centred - slope * seconds).astype(np.float32)
    return detrended


def _treated_statistics(s: Array, treatment: GaugeTreatment) -> Array:
    """(…, n_gauges, 5) statistics of the treated gauges."""
    mean, std, p95, slope, _ = np.moveaxis(s, -1, 0)
    nothing = mean * np.float32(0)
    if treatment is GaugeTreatment.DROPPED:
        return np.stack([nothing] * len(STATISTICS), axis=-1)
    if treatment is GaugeTreatment.CENTRED:
        return np.stack([nothing, std, p95 - mean, slope, nothing], axis=-1)
    explained = np.square(slope) * np.float32(np.square(_SECONDS).mean())
    left = np.sqrt(np.maximum(np.square(std) - explained, np.float32(0)))
    return np.stack([nothing, left, nothing, nothing, nothing], axis=-1)

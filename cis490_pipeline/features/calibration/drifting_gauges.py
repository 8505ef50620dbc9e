"""Treatment of gauges that drift after a start, so that they do not leak the elapsed time.

Memory and load levels rise or fall for minutes after a boot or a restored snapshot, independent of
activity. From such a level a model can infer how long the recording has lasted.
"""

from enum import StrEnum
from functools import cache
from typing import Final

import numpy as np

from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.domain.catalogue import InputKind
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.columns import per_channel
from cis490_pipeline.features.history import N_BINS
from cis490_pipeline.features.summary import STATISTICS

DRIFTING: Final = (
    "proc.rss_bytes",
    "guest.load_1m",
    "guest.mem_available_bytes",
    "guest.mem_cached_bytes",
    "guest.mem_dirty_bytes",
    "guest.top_rss_bytes",
)
"""Names of the drifting channels."""


class GaugeTreatment(StrEnum):
    """What a model gets of the drifting gauges."""

    RECORDED = "recorded"
    """Their level relative to the baseline, as for other channels."""
    CENTRED = "centred"
    """Values relative to the window's mean: changes within the 10 s, without the level."""
    DROPPED = "dropped"
    """Nothing: zero where known."""


@cache
def drifting_channels(variant: Variant) -> tuple[int, ...]:
    """Return the positions of the drifting gauges on the variant's channel axis, ascending."""
    return tuple(i for i, name in enumerate(channel_names(variant)) if name in DRIFTING)


def treat_gauges(
    relative: Float32s, kind: InputKind, variant: Variant, treatment: GaugeTreatment
) -> Float32s:
    """Apply a treatment to the drifting gauges; other channels are unchanged.

    Parameters
    ----------
    relative : windows relative to their baseline: (n, n_channels, n_steps) tensors, or rows of
        features, (n, n_channels × columns).

    Returns
    -------
    Same shape; unknown (NaN) stays unknown. Summaries equal those of the treated values. Centred
    bins are relative to their mean, and nothing is left of what lies before the window.
    """
    channels = list(drifting_channels(variant))
    if treatment is GaugeTreatment.RECORDED or not channels:
        return relative
    if kind == "tensor":
        treated = relative.copy()
        treated[:, channels] = _treated_steps(relative[:, channels], treatment)
        return treated
    treated = relative.copy()
    columns = treated.reshape(*relative.shape[:-1], -1, per_channel(kind))
    n = len(STATISTICS)
    columns[..., channels, :n] = _treated_statistics(columns[..., channels, :n], treatment)
    bins, past = slice(n, n + N_BINS), slice(n + N_BINS, None)
    columns[..., channels, bins] = _treated_steps(columns[..., channels, bins], treatment)
    columns[..., channels, past] *= np.float32(0)
    return treated


def _treated_steps(x: Float32s, treatment: GaugeTreatment) -> Float32s:
    """(…, n_gauges, n_steps) values of the treated gauges."""
    if treatment is GaugeTreatment.DROPPED:
        nothing: Float32s = x * np.float32(0)
        return nothing
    known = ~np.isnan(x)
    count = np.maximum(known.sum(axis=-1, keepdims=True), 1)
    values = np.where(known, x, 0).astype(np.float64)
    centred: Float32s = (x - values.sum(axis=-1, keepdims=True) / count).astype(np.float32)
    return centred


def _treated_statistics(s: Float32s, treatment: GaugeTreatment) -> Float32s:
    """(…, n_gauges, 5) statistics of the treated gauges."""
    mean, std, p95, slope, _ = np.moveaxis(s, -1, 0)
    nothing = mean * np.float32(0)
    if treatment is GaugeTreatment.DROPPED:
        return np.stack([nothing] * len(STATISTICS), axis=-1)
    return np.stack([nothing, std, p95 - mean, slope, nothing], axis=-1)

"""Channels of each variant and their positions on the channel axis."""

from collections.abc import Mapping
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import CHANNELS, Channel, Source, Variant
from cis490_pipeline.domain.catalogue import VARIANT_SOURCES

N_CHANNELS: Final = len(CHANNELS)

POSITION: Final[dict[str, int]] = {channel.name: i for i, channel in enumerate(CHANNELS)}
"""Position of each ``source.field`` among all channels."""


def variant_channels(variant: Variant) -> tuple[Channel, ...]:
    """Return the channels of a variant, in axis order."""
    return tuple(CHANNELS[i] for i in channel_indices(variant))


def channel_indices(variant: Variant) -> npt.NDArray[np.intp]:
    """Return the positions of the variant's channels among all, ascending: (n_channels,)."""
    seen = [i for i, c in enumerate(CHANNELS) if c.source in VARIANT_SOURCES[variant]]
    return np.array(seen, dtype=np.intp)


def channel_names(variant: Variant) -> tuple[str, ...]:
    """Return ``source.field`` of the variant's channels, in axis order."""
    return tuple(channel.name for channel in variant_channels(variant))


@cache
def source_slices(variant: Variant) -> Mapping[Source, slice]:
    """Return each source's slice of the variant's channel axis; sources are contiguous."""
    sources = [channel.source for channel in variant_channels(variant)]
    return {
        source: slice(sources.index(source), sources.index(source) + sources.count(source))
        for source in dict.fromkeys(sources)
    }


@cache
def source_channels(source: Source) -> tuple[tuple[int, Channel], ...]:
    """Return the channels of one source with their position among all channels."""
    return tuple((i, c) for i, c in enumerate(CHANNELS) if c.source is source)

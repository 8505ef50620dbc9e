"""The words of the field: phases, variants, verdicts, channels, references to episodes."""

from cis490_pipeline.domain.address import Address
from cis490_pipeline.domain.telemetry import CHANNELS, Channel, Kind, Source
from cis490_pipeline.domain.terms import (
    NS_PER_S,
    PHASES,
    Architecture,
    EpisodeRef,
    Phase,
    Recipe,
    Side,
    Variant,
    Verdict,
)

__all__ = [
    "CHANNELS",
    "NS_PER_S",
    "PHASES",
    "Address",
    "Architecture",
    "Channel",
    "EpisodeRef",
    "Kind",
    "Phase",
    "Recipe",
    "Side",
    "Source",
    "Variant",
    "Verdict",
]

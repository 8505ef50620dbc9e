"""Domain terms: phases, variants, verdicts, channels and episode references."""

from cis490_pipeline.domain.address import Address
from cis490_pipeline.domain.episode_ref import (
    EPISODE_ID_FORM,
    HOST_ID_FORM,
    EpisodeRef,
    is_episode_id,
    is_host_id,
)
from cis490_pipeline.domain.telemetry import CHANNELS, Channel, Kind, Source
from cis490_pipeline.domain.terms import (
    CLASS_INDEX,
    INFECTED_PHASES,
    NS_PER_S,
    PHASES,
    Architecture,
    Phase,
    Recipe,
    Side,
    Variant,
    Verdict,
)

__all__ = [
    "CHANNELS",
    "CLASS_INDEX",
    "EPISODE_ID_FORM",
    "HOST_ID_FORM",
    "INFECTED_PHASES",
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
    "is_episode_id",
    "is_host_id",
]

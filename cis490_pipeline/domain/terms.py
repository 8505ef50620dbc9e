"""Enumerations shared by all layers; their values appear in files and events."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, TypeVar

from cis490_pipeline.errors import ConfigError

Name = TypeVar("Name", bound=StrEnum)

NS_PER_S: Final = 1_000_000_000

Setting = bool | int | float | str | Sequence[int]
"""Value of an architecture's setting."""


class Phase(StrEnum):
    """Phase of an infection; definition order is the class index of every model."""

    CLEAN = "clean"
    ARMED = "armed"
    INFECTING = "infecting"
    INFECTED_RUNNING = "infected_running"
    DORMANT = "dormant"


PHASES: Final[tuple[Phase, ...]] = tuple(Phase)

CLASS_INDEX: Final[Mapping[str, int]] = {str(phase): k for k, phase in enumerate(PHASES)}
"""Class index of each phase, in every array and column."""
INFECTED_PHASES: Final = (Phase.INFECTING, Phase.INFECTED_RUNNING, Phase.DORMANT)
"""What an alarm is about. ``armed`` is reported apart: nothing has been attacked yet."""

FAILED_LABEL: Final = "failed"
"""Terminal label in ``labels.jsonl``; not a class."""


class Variant(StrEnum):
    """Channels available to a model; ``domain.catalogue.VARIANT_SOURCES`` has their sources."""

    REALISTIC = "realistic"
    """What a deployed device has of its own."""
    ORACLE = "oracle"
    """All that the lab records."""
    NETWORK = "network"
    """Traffic alone: what a gateway, a Zeek log or a capture shows of a device."""


class Architecture(StrEnum):
    """The six model families, named here so that asset keys need no torch or xgboost."""

    GBT = "gbt"
    MLP = "mlp"
    CNN = "cnn"
    GRU = "gru"
    LSTM = "lstm"
    TRANSFORMER = "transformer"


class Verdict(StrEnum):
    """Result of validating an episode."""

    ACCEPTED = "accepted"
    DEGRADED = "degraded"
    REJECTED = "rejected"
    ERRORED = "errored"


class Recipe(StrEnum):
    """Split recipe: the unit that is held out."""

    HOST = "host"
    SAMPLE = "sample"
    TIME = "time"


class Side(StrEnum):
    """Side of a split that a recipe assigns an episode to."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"
    EXCLUDED = "excluded"


def model_name(architecture: Architecture, variant: Variant) -> str:
    """Return a model's name in files, events and reports, such as ``gbt_realistic``."""
    return f"{architecture}_{variant}"


def member(kind: type[Name], name: str) -> Name:
    """Member of an enumeration by its value.

    Raises
    ------
    ConfigError
        If there is none; the message lists those there are.
    """
    try:
        return kind(name)
    except ValueError as unknown:
        known = ", ".join(kind)
        raise ConfigError(
            f"unknown {kind.__name__.lower()} {name!r}; known are {known}"
        ) from unknown

"""Names every layer shares. Values are what files and events carry."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

NS_PER_S: Final = 1_000_000_000


class Phase(StrEnum):
    """Phase of an infection; the order of definition is the class index of every model."""

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
"""A terminal mark in ``labels.jsonl``; no class."""


class Variant(StrEnum):
    """What a model may see: what a deployed device has, or all the lab recorded."""

    REALISTIC = "realistic"
    ORACLE = "oracle"


class Architecture(StrEnum):
    """The six model families, named here so that asset keys need neither torch nor xgboost."""

    GBT = "gbt"
    MLP = "mlp"
    CNN = "cnn"
    GRU = "gru"
    LSTM = "lstm"
    TRANSFORMER = "transformer"


class Verdict(StrEnum):
    """What the validator says of an episode."""

    ACCEPTED = "accepted"
    DEGRADED = "degraded"
    REJECTED = "rejected"
    ERRORED = "errored"


class Recipe(StrEnum):
    """What a split holds out."""

    HOST = "host"
    SAMPLE = "sample"
    TIME = "time"


class Side(StrEnum):
    """Where a recipe puts an episode."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"
    EXCLUDED = "excluded"


def model_name(architecture: Architecture, variant: Variant) -> str:
    """Name of a model in files, events and reports, such as ``gbt_realistic``."""
    return f"{architecture}_{variant}"

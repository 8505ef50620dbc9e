"""Hyperparameter search spaces by architecture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cis490_pipeline.domain import Architecture
from cis490_pipeline.domain.terms import Setting


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, inclusive; integers if both bounds are."""

    low: float
    high: float
    log: bool = False
    """Whether to sample uniformly on a log scale."""

    @property
    def is_whole(self) -> bool:
        """Whether the range is of integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    values: tuple[Setting, ...]


Space = Mapping[str, Range | Choice]

_TRAINING: Final[Space] = {
    "peak_lr": Range(3e-4, 1e-2, log=True),
    "weight_decay": Range(1e-3, 1e-1, log=True),
    "batch_size": Choice((32, 64, 128)),
    "label_smoothing": Range(0.0, 0.15),
    "class_weight_power": Range(0.0, 1.0),
    "source_dropout": Range(0.0, 0.25),
    "shift_jitter": Range(0.0, 1.5),
    "dropout": Range(0.0, 0.5),
}
_RECURRENT: Final[Space] = {
    **_TRAINING,
    "hidden": Choice((32, 64, 96)),
    "stem_width": Choice((32, 64, 96)),
}

SPACES: Final[Mapping[Architecture, Space]] = {
    Architecture.GBT: {
        "eta": Range(0.02, 0.2, log=True),
        "max_depth": Range(3, 8),
        "min_child_weight": Range(0.5, 16.0, log=True),
        "subsample": Range(0.5, 1.0),
        "colsample_bynode": Range(0.1, 1.0),
        "class_weight_power": Range(0.0, 1.0),
        "source_dropout": Range(0.0, 0.25),
    },
    Architecture.MLP: {**_TRAINING, "widths": Choice(((128, 128), (256, 256), (256, 128)))},
    Architecture.CNN: {**_TRAINING, "widths": Choice(((32, 48, 48), (48, 64, 64), (64, 80, 80)))},
    Architecture.GRU: _RECURRENT,
    Architecture.LSTM: _RECURRENT,
    Architecture.TRANSFORMER: {
        **_TRAINING,
        "n_blocks": Range(1, 3),
        "width": Choice((48, 64, 80)),
        "patch": Choice((5, 10)),
    },
}
"""Sizes are limited to 350 thousand parameters, which a Raspberry Pi runs in a few ms."""

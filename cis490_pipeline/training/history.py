"""Training history, epoch by epoch."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import cast

from cis490_pipeline.checkpoints.checkpoint import SavedEpoch, SavedHistory


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch of a network, or one boosting round of trees."""

    epoch: int
    """Counted from 1."""
    train_loss: float
    val_loss: float
    val_macro_f1: float
    """Score of the averaged weights, or of the trees so far; NaN if undefined."""
    lr: float
    """Learning rate at the end of the epoch."""

    def to_dict(self) -> SavedEpoch:
        """Return plain values; None for what is not finite."""
        return cast(SavedEpoch, {name: _finite(value) for name, value in asdict(self).items()})


@dataclass(frozen=True, kw_only=True)
class History:
    """History of a whole training. Excludes times, so that equal trainings compare equal."""

    epochs: tuple[EpochRecord, ...]
    best_epoch: int
    """Counted from 1; the model holds the weights of this epoch."""
    best_val_macro_f1: float
    """NaN without a validation side."""
    stopped_early: bool
    n_steps: int
    """Optimizer steps made, or trees per class kept."""
    n_train_windows: int
    n_val_windows: int
    threads: int
    device: str

    def to_dict(self) -> SavedHistory:
        """Convert to JSON values for a checkpoint; non-finite numbers become None."""
        plain = asdict(self)
        plain["epochs"] = [record.to_dict() for record in self.epochs]
        plain["best_val_macro_f1"] = _finite(self.best_val_macro_f1)
        return cast(SavedHistory, plain)


def _finite(value: float) -> float | None:
    # JSON cannot represent NaN, which a score may be.
    return value if math.isfinite(value) else None


EpochListener = Callable[[EpochRecord], None]
"""Callback after each epoch; may raise to stop the training."""

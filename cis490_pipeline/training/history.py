"""Training history, epoch by epoch."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


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

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values for a checkpoint; non-finite numbers become None."""
        plain = asdict(self)
        plain["epochs"] = [
            {name: v if math.isfinite(v) else None for name, v in record.items()}
            for record in plain["epochs"]
        ]
        if not math.isfinite(self.best_val_macro_f1):
            plain["best_val_macro_f1"] = None
        return plain


Progress = Callable[[EpochRecord], None]
"""Callback after each epoch; may raise to stop the training."""

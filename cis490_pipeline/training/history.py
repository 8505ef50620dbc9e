"""What happened in a training, epoch by epoch."""

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
    """Of the averaged weights of a network, of the trees so far; NaN if no score came out."""
    lr: float
    """Learning rate at the end of the epoch."""


@dataclass(frozen=True, kw_only=True)
class History:
    """A whole training. Times are left out: they would make equal trainings differ."""

    epochs: tuple[EpochRecord, ...]
    best_epoch: int
    """Counted from 1; its state is what the model holds."""
    best_val_macro_f1: float
    """NaN if there was nothing to validate on."""
    stopped_early: bool
    n_steps: int
    """Optimizer steps made, or trees per class kept."""
    n_train_windows: int
    n_val_windows: int
    threads: int
    device: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as a checkpoint stores them; None for what is not finite."""
        plain = asdict(self)
        plain["epochs"] = [
            {name: v if math.isfinite(v) else None for name, v in record.items()}
            for record in plain["epochs"]
        ]
        if not math.isfinite(self.best_val_macro_f1):
            plain["best_val_macro_f1"] = None
        return plain


Progress = Callable[[EpochRecord], None]
"""Told of each epoch as it ends; may raise to stop the training."""

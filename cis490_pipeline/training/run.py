"""Training run of one network: epochs, optimizer steps, and resumable state."""

import math
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from cis490_pipeline.errors import TrainingError
from cis490_pipeline.evaluation.confusion import confusion, macro_f1
from cis490_pipeline.features.datasets.window_data import WindowData
from cis490_pipeline.training.augmentation import drop_channels, drop_sources, jitter_channels
from cis490_pipeline.training.average import AveragedNetwork
from cis490_pipeline.training.balance import class_weights
from cis490_pipeline.training.batches import epoch_blocks, read_batches
from cis490_pipeline.training.config import TrainConfig
from cis490_pipeline.training.history import EpochRecord, History
from cis490_pipeline.training.schedule import n_total_steps, scaled, warmup_cosine
from cis490_pipeline.training.snapshot import OptimizerState, TrainingState, under

EVAL_BATCH = 512

State = dict[str, torch.Tensor]


def pick_device(name: str) -> torch.device:
    """Resolve a device name to a torch device.

    Raises
    ------
    TrainingError
        If CUDA is requested but not available.
    """
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise TrainingError("device is 'cuda', but torch finds none; use 'auto' or 'cpu'")
    return torch.device("cuda" if has_cuda and name != "cpu" else "cpu")


def in_mixed_precision(device: torch.device) -> bool:
    """Whether a device trains in float16 where that is safe: CUDA does."""
    return device.type == "cuda"


class ParameterGroup(TypedDict):
    """Some parameters of an optimizer, and how they decay."""

    params: list[nn.Parameter]
    weight_decay: float


def decayed_groups(network: nn.Module, weight_decay: float) -> list[ParameterGroup]:
    """Parameter groups of the optimizer: weight decay on matrices, not on gains and biases."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


@dataclass
class _Best:
    """Best epoch so far, with a copy of its weights."""

    epoch: int = 0
    n_steps: int = 0
    macro_f1: float = -math.inf
    state: State = field(default_factory=dict)

    def keep(self, epoch: int, n_steps: int, score: float, network: nn.Module) -> None:
        """Keep a copy of the weights, replacing any kept before."""
        self.epoch, self.n_steps, self.macro_f1 = epoch, n_steps, score
        self.state = {name: v.detach().clone() for name, v in network.state_dict().items()}


class TrainingRun:
    """A training in progress."""

    def __init__(
        self,
        network: nn.Module,
        train: WindowData,
        val: WindowData | None,
        config: TrainConfig,
        sources: tuple[slice, ...],
        n_classes: int,
        columns_per_channel: int = 1,
    ) -> None:
        self.train_windows, self.val_windows = train, val
        self.config = config = scaled(config, len(train))
        self.n_classes = n_classes
        self.sources, self.columns_per_channel = sources, columns_per_channel
        self.device = pick_device(config.device)
        self.network = network.to(self.device)
        self.parameters = list(network.parameters())
        weights = class_weights(train.y, config.class_weight_power, n_classes)
        self.class_weights = torch.tensor(weights, dtype=torch.float32, device=self.device)
        self.optimizer = torch.optim.AdamW(
            [{**group} for group in decayed_groups(network, config.weight_decay)], lr=config.peak_lr
        )
        self.scheduler = warmup_cosine(
            self.optimizer,
            total_steps=n_total_steps(config, len(train)),
            warmup_fraction=config.warmup_fraction,
        )
        self.mixed = in_mixed_precision(self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.mixed)
        self.averaged = AveragedNetwork(network, config.ema_decay)
        self.best = _Best()
        self.records: list[EpochRecord] = []
        self.n_steps = 0

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are done or patience is exhausted."""
        return len(self.records) >= self.config.max_epochs or self._is_out_of_patience

    @property
    def _is_out_of_patience(self) -> bool:
        if self.config.patience_steps:
            return self.n_steps - self.best.n_steps >= self.config.patience_steps
        return len(self.records) - self.best.epoch >= self.config.patience_epochs

    def advance(self) -> EpochRecord:
        """Train and validate one more epoch."""
        epoch = len(self.records) + 1
        train_loss = self.run_epoch(epoch)
        val_loss, score = self.validate()
        record = EpochRecord(
            epoch=epoch,
            train_loss=train_loss,
            val_loss=val_loss,
            val_macro_f1=score,
            lr=float(self.scheduler.get_last_lr()[0]),
        )
        self.records.append(record)
        # A NaN score never replaces another; without a validation side the last epoch is kept.
        if self.val_windows is None or score > self.best.macro_f1:
            self.best.keep(epoch, self.n_steps, score, self.averaged.network)
        return record

    def history(self) -> History:
        """Return the training history.

        Raises
        ------
        TrainingError
            If no epoch had a finite validation score.
        """
        if self.best.epoch == 0:
            raise TrainingError(
                f"no epoch of {len(self.records)} had a finite validation score; lower peak_lr "
                f"(now {self.config.peak_lr:g}) or look for extreme values in the features"
            )
        return History(
            epochs=tuple(self.records),
            best_epoch=self.best.epoch,
            best_val_macro_f1=self.best.macro_f1,
            stopped_early=self._is_out_of_patience,
            n_steps=self.n_steps,
            n_train_windows=len(self.train_windows),
            n_val_windows=0 if self.val_windows is None else len(self.val_windows),
            threads=self.config.threads,
            device=self.device.type,
        )

    def state(self) -> TrainingState:
        """Complete state that later epochs depend on."""
        optimizer = OptimizerState.of(self.optimizer)
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        parts = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.network.state_dict(),
            "best": self.best.state,
            "optimizer": optimizer.tensors,
            "random": random,
        }
        return TrainingState(
            tensors={f"{part}/{n}": v for part, of in parts.items() for n, v in of.items()},
            values={
                "best_epoch": self.best.epoch,
                "best_n_steps": self.best.n_steps,
                # JSON has neither infinity nor NaN.
                "best_macro_f1": self.best.macro_f1 if math.isfinite(self.best.macro_f1) else None,
                "n_steps": self.n_steps,
                "n_updates": self.averaged.n_updates,
                "groups": optimizer.groups,
                "scheduler": self.scheduler.state_dict(),
                "scaler": self.scaler.state_dict(),
            },
            epochs=tuple(self.records),
        )

    def restore(self, state: TrainingState | None) -> None:
        """Restore the state of an earlier run of the same training; None changes nothing."""
        if state is None:
            return
        tensors, values = state.tensors, state.values
        self.network.load_state_dict(under("network", tensors))
        self.averaged.network.load_state_dict(under("averaged", tensors))
        self.averaged.n_updates = values["n_updates"]
        if values["best_epoch"]:
            kept = {name: v.to(self.device) for name, v in under("best", tensors).items()}
            score = values["best_macro_f1"]
            self.best = _Best(
                values["best_epoch"],
                values["best_n_steps"],
                math.nan if score is None else score,
                kept,
            )
        OptimizerState(under("optimizer", tensors), values["groups"]).into(self.optimizer)
        self.scheduler.load_state_dict(values["scheduler"])
        self.scaler.load_state_dict(values["scaler"])
        random = under("random", tensors)
        torch.set_rng_state(random["cpu"])
        if "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], self.device)
        self.n_steps = values["n_steps"]
        self.records = list(state.epochs)

    def run_epoch(self, epoch: int) -> float:
        """Mean training loss of one epoch of optimizer steps."""
        config, y = self.config, self.train_windows.y
        blocks = epoch_blocks(
            self.train_windows.episode_numbers,
            seed=config.seed,
            epoch=epoch,
            block_episodes=config.block_episodes,
            epoch_windows=config.epoch_windows,
        )
        # Separate random streams: augmentation must not depend on how the order was drawn, nor an
        # older kind of it on whether channels are dropped.
        rng = np.random.default_rng([config.seed, epoch, 1])
        channel_rng = np.random.default_rng([config.seed, epoch, 3])
        self.network.train()
        total = torch.zeros((), device=self.device)
        n_windows = 0
        for batch in read_batches(self.train_windows, blocks, config.batch_size):
            X = self.train_windows.take(batch)
            X = jitter_channels(X, scale=config.scale_jitter, shift=config.shift_jitter, rng=rng)
            X = drop_sources(X, self.sources, config.source_dropout, rng)
            X = drop_channels(X, config.channel_dropout, self.columns_per_channel, channel_rng)
            target = torch.from_numpy(y[batch]).to(self.device)
            total += self.step(torch.from_numpy(X).to(self.device), target) * batch.size
            n_windows += batch.size
        mean_loss = float(total) / max(n_windows, 1)
        if not math.isfinite(mean_loss) or n_windows == 0:
            raise TrainingError(
                f"training loss of epoch {epoch} is {mean_loss} over {n_windows} windows "
                f"(learning rate {self.scheduler.get_last_lr()[0]:.3g}); "
                "lower peak_lr or look for extreme values in the features"
            )
        return mean_loss

    def step(self, X: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Take one optimizer step; return the loss, still on its device."""
        with torch.autocast(self.device.type, dtype=torch.float16, enabled=self.mixed):
            loss = cross_entropy(
                self.network(X).float(),
                target,
                weight=self.class_weights,
                label_smoothing=self.config.label_smoothing,
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        # Mixed precision overflows occasionally and its scaler skips the step; otherwise, an error.
        if not self.mixed and not torch.isfinite(norm):
            rate = self.scheduler.get_last_lr()[0]
            raise TrainingError(
                f"epoch {len(self.records) + 1}, step {self.n_steps + 1}: the gradient's norm is "
                f"{norm:g}, the loss {loss:g} (learning rate {rate:.3g}); "
                "lower peak_lr or look for extreme values in the features"
            )
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # A lowered scale means that float16 overflowed and the step was skipped.
        if self.scaler.get_scale() >= scale:
            self.scheduler.step()
            self.averaged.update(self.network)
            self.n_steps += 1
        return loss.detach()

    @torch.inference_mode()
    def validate(self) -> tuple[float, float]:
        """Mean loss and macro F1 of the averaged weights; NaN without a validation side."""
        if self.val_windows is None:
            return math.nan, math.nan
        y = self.val_windows.y
        # Preallocated: small results kept between large batches would fragment the heap.
        logits = np.empty((len(y), self.n_classes), dtype=np.float32)
        for part in np.array_split(np.arange(len(y)), math.ceil(len(y) / EVAL_BATCH)):
            X = torch.from_numpy(self.val_windows.take(part)).to(self.device)
            logits[part] = self.averaged.network(X).float().cpu().numpy()
        loss = float(cross_entropy(torch.from_numpy(logits), torch.from_numpy(y)))
        # argmax of NaN logits is still a class, which would produce a meaningless score.
        if not np.isfinite(logits).all():
            return loss, math.nan
        return loss, macro_f1(confusion(y, logits.argmax(axis=1), self.n_classes))

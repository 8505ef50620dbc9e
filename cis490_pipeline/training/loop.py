"""The training loop of every network: batches in, best averaged weights and a history out."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from cis490_pipeline.domain import PHASES
from cis490_pipeline.errors import TrainingError
from cis490_pipeline.evaluation.confusion import confusion, macro_f1
from cis490_pipeline.features.window_data import WindowData
from cis490_pipeline.training.average import AveragedNetwork
from cis490_pipeline.training.balance import class_weights
from cis490_pipeline.training.batches import (
    batches,
    drop_sources,
    epoch_order,
    in_memory,
    n_batches,
)
from cis490_pipeline.training.config import TrainConfig
from cis490_pipeline.training.history import EpochRecord, History, Progress
from cis490_pipeline.training.schedule import warmup_cosine

EVAL_BATCH = 512

State = dict[str, torch.Tensor]


def pick_device(name: str) -> torch.device:
    """Device of a configuration's name.

    Raises
    ------
    TrainingError
        If CUDA is asked for and there is none.
    """
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise TrainingError("device is 'cuda', but torch finds none; use 'auto' or 'cpu'")
    return torch.device("cuda" if has_cuda and name != "cpu" else "cpu")


@contextmanager
def reproducible(*, seed: int, threads: int) -> Iterator[None]:
    """Fix torch's random state and number of threads inside the block; restore both after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)


def decayed_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Parameter groups of the optimizer: matrices decay, gains and biases do not."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def train_network(
    network: nn.Module,
    train: WindowData,
    val: WindowData | None,
    config: TrainConfig,
    *,
    sources: Sequence[slice],
    progress: Progress | None = None,
    n_classes: int = len(PHASES),
) -> History:
    """Train a network in place; at the end it holds its best averaged weights.

    Parameters
    ----------
    network : maps (n_windows, *shape) with NaN for unknown to logits (n_windows, n_classes).
    train : windows that weights are fitted on; every class must occur.
    val : windows that choose the epoch, by macro F1; None trains all epochs and keeps the last.
    config : everything else the result depends on.
    sources : columns of each telemetry source on a window's first axis, for source dropout.
    progress : told of each epoch.
    n_classes : classes of the labels.

    Returns
    -------
    The history; the network is in evaluation mode, on the CPU.

    Raises
    ------
    TrainingError
        If a class has no training window, there is nothing to validate on, or the loss or every
        validation score is not finite.
    """
    if val is not None and len(val) == 0:
        raise TrainingError("there is no validation window: the best epoch could not be chosen")
    held = None if val is None else in_memory(val)
    run = _Run(network, in_memory(train), held, config, tuple(sources), n_classes)
    with reproducible(seed=config.seed, threads=config.threads):
        history = run.train(progress)
    network.load_state_dict(run.best.state)
    network.to("cpu").eval()
    return history


@dataclass
class _Best:
    """The best epoch so far, apart from the weights that go on changing."""

    epoch: int = 0
    macro_f1: float = -math.inf
    state: State = field(default_factory=dict)

    def offer(self, epoch: int, score: float, network: nn.Module) -> None:
        """Keep a copy of the weights if the score is better; NaN is better than nothing never."""
        if score > self.macro_f1:
            self.keep(epoch, score, network)

    def keep(self, epoch: int, score: float, network: nn.Module) -> None:
        """Keep a copy of the weights, whatever was kept before."""
        self.epoch, self.macro_f1 = epoch, score
        self.state = {name: v.detach().clone() for name, v in network.state_dict().items()}


class _Run:
    """State of one training."""

    def __init__(
        self,
        network: nn.Module,
        train: WindowData,
        val: WindowData | None,
        config: TrainConfig,
        sources: tuple[slice, ...],
        n_classes: int,
    ) -> None:
        self.train_windows, self.val_windows = train, val
        self.config, self.sources, self.n_classes = config, sources, n_classes
        self.device = pick_device(config.device)
        self.network = network.to(self.device)
        self.parameters = list(network.parameters())
        weights = class_weights(train.y, config.class_weight_power, n_classes)
        self.class_weights = torch.tensor(weights, dtype=torch.float32, device=self.device)
        self.optimizer = torch.optim.AdamW(
            decayed_groups(network, config.weight_decay), lr=config.peak_lr
        )
        self.scheduler = warmup_cosine(
            self.optimizer,
            total_steps=config.max_epochs * n_batches(len(train), config.batch_size),
            warmup_fraction=config.warmup_fraction,
        )
        self.mixed = self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.mixed)
        self.averaged = AveragedNetwork(network, config.ema_decay)
        self.best = _Best()
        self.n_steps = 0

    def train(self, progress: Progress | None) -> History:
        """Go through epochs until the last one, or until patience ends."""
        records: list[EpochRecord] = []
        stopped_early = False
        for epoch in range(1, self.config.max_epochs + 1):
            train_loss = self.run_epoch(epoch)
            val_loss, score = self.validate()
            record = EpochRecord(
                epoch=epoch,
                train_loss=train_loss,
                val_loss=val_loss,
                val_macro_f1=score,
                lr=float(self.scheduler.get_last_lr()[0]),
            )
            records.append(record)
            self.best.offer(epoch, score, self.averaged.network)
            if progress is not None:
                progress(record)
            waited = epoch - self.best.epoch
            if self.val_windows is not None and waited >= self.config.patience_epochs:
                stopped_early = True
                break
        if self.val_windows is None:
            self.best.keep(len(records), math.nan, self.averaged.network)
        if self.best.epoch == 0:
            raise TrainingError(
                f"no epoch of {len(records)} had a finite validation score; lower peak_lr "
                f"(now {self.config.peak_lr:g}) or look for extreme values in the features"
            )
        return History(
            epochs=tuple(records),
            best_epoch=self.best.epoch,
            best_val_macro_f1=self.best.macro_f1,
            stopped_early=stopped_early,
            n_steps=self.n_steps,
            n_train_windows=len(self.train_windows),
            n_val_windows=0 if self.val_windows is None else len(self.val_windows),
            threads=self.config.threads,
            device=self.device.type,
        )

    def run_epoch(self, epoch: int) -> float:
        """Mean training loss of one epoch of optimizer steps."""
        config, y = self.config, self.train_windows.y
        order = epoch_order(
            self.train_windows.groups,
            seed=config.seed,
            epoch=epoch,
            block_episodes=config.block_episodes,
        )
        # A stream of its own: the dropout must not depend on how the order was drawn.
        rng = np.random.default_rng([config.seed, epoch, 1])
        self.network.train()
        total = torch.zeros((), device=self.device)
        n_windows = 0
        for batch in batches(order, config.batch_size):
            X = drop_sources(
                self.train_windows.take(batch), self.sources, config.source_dropout, rng
            )
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
        """One optimizer step; return the loss, still on its device."""
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
        nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
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
        """Mean loss and macro F1 of the averaged weights; NaN with nothing to validate on."""
        if self.val_windows is None:
            return math.nan, math.nan
        y = self.val_windows.y
        logits = np.concatenate(
            [
                self.averaged.network(torch.from_numpy(self.val_windows.take(part)).to(self.device))
                .float()
                .cpu()
                .numpy()
                for part in np.array_split(np.arange(len(y)), math.ceil(len(y) / EVAL_BATCH))
            ]
        )
        loss = float(cross_entropy(torch.from_numpy(logits), torch.from_numpy(y)))
        # argmax would read a class out of NaN logits, and so a score out of nothing.
        if not np.isfinite(logits).all():
            return loss, math.nan
        return loss, macro_f1(confusion(y, logits.argmax(axis=1), self.n_classes))

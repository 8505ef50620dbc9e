"""Learning rate per optimizer step, and its scaling with the size of a batch."""

import math
from dataclasses import replace
from typing import Final, TypeVar

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from cis490_pipeline.training.batches import n_batches, n_epoch_windows
from cis490_pipeline.training.config import TrainConfig

ConfigT = TypeVar("ConfigT", bound=TrainConfig)

LARGEST_BATCH: Final = 1024
"""Windows per step up to which batches grow: one of 29 channels and 100 steps then has 12 MB."""

WARMUP_START = 0.05
"""Initial learning rate of the warm-up as a share of the peak."""


def warmup_cosine(
    optimizer: torch.optim.Optimizer, *, total_steps: int, warmup_fraction: float
) -> LRScheduler:
    """Schedule a linear warm-up to the optimizer's own rate, then a cosine to zero.

    It is stepped once per optimizer step, ``total_steps`` times in all.
    """
    warmup_steps = round(total_steps * warmup_fraction)
    cosine_steps = max(total_steps - warmup_steps, 1)
    if warmup_steps == 0:
        return CosineAnnealingLR(optimizer, T_max=cosine_steps)
    return SequentialLR(
        optimizer,
        [
            LinearLR(optimizer, start_factor=WARMUP_START, total_iters=warmup_steps),
            CosineAnnealingLR(optimizer, T_max=cosine_steps),
        ],
        milestones=[warmup_steps],
    )


def scaled(config: ConfigT, n_windows: int) -> ConfigT:
    """Return settings whose batches are so large that an epoch has at most ``epoch_steps`` steps.

    ``batch_size`` is doubled until that holds, up to ``LARGEST_BATCH``. With k times as many
    windows in a batch, the noise of the gradient is √k times smaller, and AdamW, which divides by
    the gradient's size, follows the same course with √k times the learning rate (Malladi et al.,
    2022). The averaged weights keep their horizon in windows with the decay to the k-th power
    (Busbridge et al., 2023).
    """
    longest = n_epoch_windows(n_windows, 1, config.epoch_windows)
    factor = 1
    while (
        0 < config.epoch_steps < n_batches(longest, config.batch_size * factor)
        and config.batch_size * factor * 2 <= LARGEST_BATCH
    ):
        factor *= 2
    if factor == 1:
        return config
    return replace(
        config,
        batch_size=config.batch_size * factor,
        peak_lr=config.peak_lr * math.sqrt(factor),
        ema_decay=config.ema_decay**factor,
    )


def n_total_steps(config: TrainConfig, n_windows: int) -> int:
    """Count the optimizer steps of all epochs."""
    return sum(
        n_batches(n_epoch_windows(n_windows, epoch, config.epoch_windows), config.batch_size)
        for epoch in range(1, config.max_epochs + 1)
    )

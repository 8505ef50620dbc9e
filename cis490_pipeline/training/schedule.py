"""Learning rate per optimizer step: linear warm-up, then a cosine to zero."""

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

WARMUP_START = 0.05
"""Initial learning rate of the warm-up as a share of the peak."""


def warmup_cosine(
    optimizer: torch.optim.Optimizer, *, total_steps: int, warmup_fraction: float
) -> LRScheduler:
    """Schedule from the warm-up to the optimizer's own rate, and to zero after ``total_steps``.

    It is stepped once per optimizer step.
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

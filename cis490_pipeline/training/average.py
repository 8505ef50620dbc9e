"""Exponential moving average of a network's weights."""

import copy

import torch
from torch import nn


class AveragedNetwork:
    """A copy of a network with the moving average of its weights.

    ``decay`` is the share of the average kept at each update, after its warm-up.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval()
        self.decay = decay
        self.n_updates = 0
        # The tensor lists are cached: collecting them at every step is noticeable in a small
        # network. Optimizers and BatchNorm change the tensors in place.
        self._averaged = list(self.network.state_dict().values())
        self._followed: nn.Module | None = None
        self._current: list[torch.Tensor] = []

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the network's current weights and BatchNorm statistics."""
        # A small corpus has a few hundred steps in all: without this warm-up the average
        # would still hold a third of the random start when training ends.
        decay = min(self.decay, (1 + self.n_updates) / (10 + self.n_updates))
        self.n_updates += 1
        if network is not self._followed:
            self._followed, self._current = network, list(network.state_dict().values())
        pairs = list(zip(self._averaged, self._current, strict=True))
        moving = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([a for a, _ in moving], [c for _, c in moving], 1 - decay)
        for averaged, current in pairs:
            if not averaged.is_floating_point():
                averaged.copy_(current)

"""Exponential moving average of a network's weights."""

import copy

import torch
from torch import nn


class AveragedNetwork:
    """A copy of a network whose weights trail the trained ones.

    Parameters
    ----------
    network : the network in training; it is copied, not changed.
    decay : share of the average that stays at each update, once warm.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval()
        self.decay = decay
        self.n_updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the network's present weights and BatchNorm statistics."""
        # A small corpus has a few hundred steps in all: without this warm-up the average
        # would still hold a third of the random start when training ends.
        decay = min(self.decay, (1 + self.n_updates) / (10 + self.n_updates))
        self.n_updates += 1
        averaged, current = self.network.state_dict(), network.state_dict()
        moving = [name for name, value in averaged.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [averaged[name] for name in moving], [current[name] for name in moving], 1 - decay
        )
        for name in averaged.keys() - set(moving):
            averaged[name].copy_(current[name])

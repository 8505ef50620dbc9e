"""Layers shared by several networks."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cis490_pipeline.domain import PHASES
from cis490_pipeline.features.windows import STEPS


class MaskedInput(nn.Module):
    """Replace unknown readings by zeros and append the known share of each source.

    After calibration zero is a channel's usual value, so only the mask, one value per source (and
    step), distinguishes a dead source from a quiet one.
    """

    def __init__(self, sources: Sequence[slice]) -> None:
        super().__init__()
        self.bounds = tuple((columns.start, columns.stop) for columns in sources)

    def forward(self, X: Tensor) -> Tensor:
        """(n, n_columns, ...) with NaN -> (n, n_columns + n_sources, ...) without."""
        known = ~torch.isnan(X)
        filled = torch.where(known, X, torch.zeros_like(X))
        weight = known.to(X.dtype)
        masks = [weight[:, start:stop].mean(dim=1, keepdim=True) for start, stop in self.bounds]
        return torch.cat([filled, *masks], dim=1)


def patch_convolution(n_in: int, width: int, kernel: int, stride: int, *, bias: bool) -> nn.Conv1d:
    """Build a convolution that embeds patches of a sequence, one every ``stride`` steps.

    Patches overlap by ``kernel - stride`` steps, and half of that is padded at either end, so that
    every step of a sequence of a multiple of ``stride`` is seen. Under the usual padding by half a
    kernel, a kernel of 5 with a stride of 4 would never see a window's newest step.
    """
    padding = max(kernel - stride + 1, 0) // 2
    return nn.Conv1d(n_in, width, kernel, stride=stride, padding=padding, bias=bias)


def patch_problems(kernel: int, stride: int) -> list[str]:
    """Describe a kernel and a stride under which no patch sees some step of a window."""
    problems = []
    if kernel < stride:
        problems.append(
            f"stem_stride must not exceed the first convolution's {kernel} steps, got {stride}"
        )
    if STEPS % stride:
        problems.append(f"stem_stride must divide a window's {STEPS} steps, got {stride}")
    return problems


class AttentionPool(nn.Module):
    """Mean, maximum and a learnt weighted mean over the steps of a sequence."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)

    def forward(self, sequence: Tensor) -> Tensor:
        """(n, n_steps, width) -> (n, 3 * width)."""
        weights = torch.softmax(self.score(sequence), dim=1)
        attended = (weights * sequence).sum(dim=1)
        return torch.cat([sequence.mean(dim=1), sequence.amax(dim=1), attended], dim=1)


class PhaseNetwork(nn.Module, ABC):
    """Network that maps windows to logits of the phases, or of other classes.

    Parameters
    ----------
    sources : columns of each source on a window's first axis.
    width : length of the embedding.
    dropout : share of the embedding dropped in training.
    n_classes : number of logits; data other than telemetry may have other classes.
    """

    def __init__(
        self, sources: Sequence[slice], *, width: int, dropout: float, n_classes: int = len(PHASES)
    ) -> None:
        super().__init__()
        self.inputs = MaskedInput(sources)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, n_classes)

    @abstractmethod
    def embed(self, X: Tensor) -> Tensor:
        """(n, *shape) windows with NaN for unknown -> (n, width)."""

    def forward(self, X: Tensor) -> Tensor:
        """(n, *shape) windows with NaN for unknown -> (n, n_classes) logits."""
        logits: Tensor = self.head(self.dropout(self.embed(X)))
        return logits

"""Layers shared by several networks."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cis490_pipeline.domain import PHASES


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

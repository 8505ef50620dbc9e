"""Bidirectional recurrent networks (GRU and LSTM) after a convolution that shortens the window."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor, nn

from cis490_pipeline.domain import PHASES, Architecture
from cis490_pipeline.models.nets.layers import (
    AttentionPool,
    PhaseNetwork,
    patch_convolution,
    patch_problems,
)
from cis490_pipeline.models.nets.neural import NeuralModel, TensorTrainConfig


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(TensorTrainConfig):
    """Sizes of a recurrent network."""

    peak_lr: float = 3e-3
    """Higher than for other networks, because gradients through time are small."""
    stem_width: Annotated[int, Meta(ge=1, le=4096)] = 64
    stem_kernel: Annotated[int, Meta(ge=1, le=99)] = 5
    """Odd length of the first convolution, steps."""
    stem_stride: Annotated[int, Meta(ge=1, le=20)] = 2
    """Its stride: so many of a window's 100 steps are one of the recurrence, which is most of the
    cost."""
    hidden: Annotated[int, Meta(ge=1, le=4096)] = 64
    """Units per direction."""
    dropout: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.2

    def problems(self) -> list[str]:
        """Describe the fields out of range."""
        problems = super().problems()
        if self.stem_kernel % 2 == 0:
            problems.append(f"stem_kernel must be odd, got {self.stem_kernel}")
        return problems + patch_problems(self.stem_kernel, self.stem_stride)


class RecurrentNetwork(PhaseNetwork):
    """Convolution stem, one bidirectional recurrent layer, pooled over time."""

    def __init__(
        self,
        layer: type[nn.GRU] | type[nn.LSTM],
        n_channels: int,
        sources: Sequence[slice],
        config: RecurrentConfig,
        *,
        n_classes: int = len(PHASES),
    ) -> None:
        super().__init__(
            sources, width=6 * config.hidden, dropout=config.dropout, n_classes=n_classes
        )
        self.stem = patch_convolution(
            n_channels + len(sources),
            config.stem_width,
            config.stem_kernel,
            config.stem_stride,
            bias=True,
        )
        self.recurrent = layer(
            config.stem_width, config.hidden, batch_first=True, bidirectional=True
        )
        self.pool = AttentionPool(2 * config.hidden)
        self._initialize(config.hidden)

    @torch.no_grad()
    def _initialize(self, hidden: int) -> None:
        for name, parameter in self.recurrent.named_parameters():
            if name.startswith("weight_hh"):
                for gate in torch.split(parameter, hidden):
                    nn.init.orthogonal_(gate)
            elif name.startswith("weight_ih"):
                for gate in torch.split(parameter, hidden):
                    nn.init.xavier_uniform_(gate)
            else:
                parameter.zero_()
                # torch orders an LSTM's gates input, forget, cell, output. Open forget gates
                # let early gradients propagate back through the window.
                if isinstance(self.recurrent, nn.LSTM) and name.startswith("bias_ih"):
                    parameter[hidden : 2 * hidden] = 1.0

    def embed(self, X: Tensor) -> Tensor:
        """(n, n_channels, n_steps) -> (n, 6 * hidden)."""
        stem = torch.relu(self.stem(self.inputs(X)))
        sequence, _ = self.recurrent(stem.transpose(1, 2))
        pooled: Tensor = self.pool(sequence)
        return pooled


class Gru(NeuralModel):
    """Bidirectional gated recurrent unit."""

    architecture = Architecture.GRU
    config_type = RecurrentConfig
    config: RecurrentConfig

    def _build(self) -> RecurrentNetwork:
        return RecurrentNetwork(nn.GRU, self.spec.n_columns, self.spec.source_columns, self.config)


class Lstm(NeuralModel):
    """Bidirectional long short-term memory."""

    architecture = Architecture.LSTM
    config_type = RecurrentConfig
    config: RecurrentConfig

    def _build(self) -> RecurrentNetwork:
        return RecurrentNetwork(nn.LSTM, self.spec.n_columns, self.spec.source_columns, self.config)

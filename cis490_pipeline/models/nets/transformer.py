"""Transformer over patches of a window, after ConvTran (Foumani et al., 2024)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor, nn

from cis490_pipeline.domain import PHASES, Architecture
from cis490_pipeline.models.nets.layers import AttentionPool, PhaseNetwork
from cis490_pipeline.models.nets.neural import NeuralModel, TensorTrainConfig


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(TensorTrainConfig):
    """Sizes of the transformer."""

    width: Annotated[int, Meta(ge=1, le=4096)] = 64
    n_heads: Annotated[int, Meta(ge=1, le=4096)] = 4
    n_blocks: Annotated[int, Meta(ge=1, le=4096)] = 2
    feedforward: Annotated[int, Meta(ge=1, le=4096)] = 128
    """Hidden units of a block's feed-forward layer."""
    stem_kernel: Annotated[int, Meta(ge=1, le=4096)] = 7
    """Odd length of the first convolution, in steps."""
    patch: Annotated[int, Meta(ge=1, le=50)] = 5
    """Steps per token; where they do not divide a window, its first token begins with unknown
    steps."""
    dropout: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.1

    def problems(self) -> list[str]:
        """Describe the fields out of range."""
        problems = super().problems()
        if self.n_heads >= 1 and self.width % self.n_heads:
            problems.append(
                f"width must be a multiple of n_heads, got {self.width}, {self.n_heads}"
            )
        if self.stem_kernel % 2 == 0:
            problems.append(f"stem_kernel must be odd, got {self.stem_kernel}")
        return problems


class RelativeAttention(nn.Module):
    """Self-attention with a learnt bias per head and distance, added after the softmax (eRPE)."""

    distance: Tensor

    def __init__(self, n_tokens: int, config: TransformerConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.project = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.bias = nn.Parameter(torch.zeros(2 * n_tokens - 1, config.n_heads))
        place = torch.arange(n_tokens)
        distance = place[:, None] - place[None, :] + n_tokens - 1
        self.register_buffer("distance", distance, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, n_tokens, width) -> same."""
        n_tokens, width = tokens.shape[1], tokens.shape[2]
        heads = self.project(tokens).reshape(-1, n_tokens, 3, self.n_heads, width // self.n_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(-2, -1) * (width // self.n_heads) ** -0.5
        weights = torch.softmax(scores, dim=-1) + self.bias[self.distance].permute(2, 0, 1)
        mixed = (weights @ value).transpose(1, 2).reshape(-1, n_tokens, width)
        attended: Tensor = self.out(mixed)
        return attended


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each added to its input."""

    def __init__(self, n_tokens: int, config: TransformerConfig) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(config.width)
        self.attention = RelativeAttention(n_tokens, config)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(config.width),
            nn.Linear(config.width, config.feedforward),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.feedforward, config.width),
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, n_tokens, width) -> same."""
        tokens = tokens + self.dropout(self.attention(self.norm_attention(tokens)))
        added: Tensor = tokens + self.dropout(self.feedforward(tokens))
        return added


class TransformerNetwork(PhaseNetwork):
    """Convolution stem, patches with learnt positions, blocks, pooled over tokens."""

    def __init__(
        self,
        n_channels: int,
        n_steps: int,
        sources: Sequence[slice],
        config: TransformerConfig,
        *,
        n_classes: int = len(PHASES),
    ) -> None:
        super().__init__(
            sources, width=3 * config.width, dropout=config.dropout, n_classes=n_classes
        )
        self.n_unknown = -n_steps % config.patch
        n_tokens = (self.n_unknown + n_steps) // config.patch
        self.stem = nn.Sequential(
            nn.Conv1d(
                n_channels + len(sources),
                config.width,
                config.stem_kernel,
                padding=config.stem_kernel // 2,
            ),
            nn.BatchNorm1d(config.width),
            nn.GELU(),
            nn.Conv1d(config.width, config.width, config.patch, stride=config.patch),
        )
        self.position = nn.Parameter(torch.randn(1, n_tokens, config.width) * 0.02)
        self.blocks = nn.Sequential(*(Block(n_tokens, config) for _ in range(config.n_blocks)))
        self.norm = nn.LayerNorm(config.width)
        self.pool = AttentionPool(config.width)

    def embed(self, X: Tensor) -> Tensor:
        """(n, n_channels, n_steps) -> (n, 3 * width)."""
        # Without them the convolution over whole patches would leave out a window's newest steps.
        if self.n_unknown:
            X = torch.nn.functional.pad(X, (self.n_unknown, 0), value=torch.nan)
        tokens = self.stem(self.inputs(X)).transpose(1, 2) + self.position
        pooled: Tensor = self.pool(self.norm(self.blocks(tokens)))
        return pooled


class Transformer(NeuralModel):
    """Transformer over patches."""

    architecture = Architecture.TRANSFORMER
    config_type = TransformerConfig
    config: TransformerConfig

    def _build(self) -> TransformerNetwork:
        return TransformerNetwork(
            self.spec.n_columns, self.spec.n_steps, self.spec.source_columns, self.config
        )

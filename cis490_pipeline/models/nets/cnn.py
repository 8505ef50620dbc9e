"""Residual convolutional network over the channels of a window (ResNet1d of Wang et al., 2017)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor, nn

from cis490_pipeline.domain import PHASES, Architecture
from cis490_pipeline.models.nets.layers import PhaseNetwork, patch_convolution, patch_problems
from cis490_pipeline.models.nets.neural import NeuralModel, TensorTrainConfig


@dataclass(frozen=True, kw_only=True)
class CnnConfig(TensorTrainConfig):
    """Sizes of the residual network."""

    widths: tuple[int, ...] = (48, 64, 64)
    """Filters of each block."""
    kernels: tuple[int, ...] = (7, 5, 3)
    """Odd lengths of the convolutions within a block, in steps."""
    stem_stride: Annotated[int, Meta(ge=1, le=20)] = 1
    """Stride of a convolution before the first block, as long and wide as that block's first. It
    divides the cost of all blocks; 1 leaves it out."""
    first_stride: Annotated[int, Meta(ge=1, le=10)] = 2
    """Stride of the first block; 2 halves the cost of all later layers."""
    dropout: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.2

    def problems(self) -> list[str]:
        """Describe the fields out of range."""
        problems = super().problems()
        if not self.widths or min(self.widths) < 1:
            problems.append(f"widths must be positive, got {self.widths}")
        if not self.kernels or any(k < 1 or k % 2 == 0 for k in self.kernels):
            problems.append(f"kernels must be odd and positive, got {self.kernels}")
        elif self.stem_stride > 1:
            problems += patch_problems(self.kernels[0], self.stem_stride)
        return problems


class ResidualBlock(nn.Module):
    """Convolutions with BatchNorm, added to a shortcut."""

    def __init__(self, before: int, width: int, kernels: Sequence[int], stride: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_in, step = before, stride
        for kernel in kernels:
            layers += [
                nn.Conv1d(n_in, width, kernel, stride=step, padding=kernel // 2, bias=False),
                nn.BatchNorm1d(width),
                nn.ReLU(),
            ]
            n_in, step = width, 1
        self.layers = nn.Sequential(*layers[:-1])
        self.shortcut: nn.Module = nn.Identity()
        if before != width or stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv1d(before, width, 1, stride=stride, bias=False), nn.BatchNorm1d(width)
            )

    def forward(self, X: Tensor) -> Tensor:
        """(n, before, n_steps) -> (n, width, n_steps / stride)."""
        return torch.relu(self.layers(X) + self.shortcut(X))


class CnnNetwork(PhaseNetwork):
    """Residual blocks, by choice after a strided convolution, pooled over time."""

    def __init__(
        self,
        n_channels: int,
        sources: Sequence[slice],
        config: CnnConfig,
        *,
        n_classes: int = len(PHASES),
    ) -> None:
        super().__init__(
            sources, width=2 * config.widths[-1], dropout=config.dropout, n_classes=n_classes
        )
        n_in, width = n_channels + len(sources), config.widths[0]
        self.stem: nn.Module = nn.Identity()
        if config.stem_stride > 1:
            self.stem = nn.Sequential(
                patch_convolution(n_in, width, config.kernels[0], config.stem_stride, bias=False),
                nn.BatchNorm1d(width),
                nn.ReLU(),
            )
            n_in = width
        befores = (n_in, *config.widths)
        strides = (config.first_stride, *(1 for _ in config.widths[1:]))
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(before, width, config.kernels, stride)
                for before, width, stride in zip(befores, config.widths, strides, strict=False)
            )
        )

    def embed(self, X: Tensor) -> Tensor:
        """(n, n_channels, n_steps) -> (n, 2 * widths[-1])."""
        maps: Tensor = self.blocks(self.stem(self.inputs(X)))
        return torch.cat([maps.mean(dim=2), maps.amax(dim=2)], dim=1)


class Cnn(NeuralModel):
    """Residual convolutional network."""

    architecture = Architecture.CNN
    config_type = CnnConfig
    config: CnnConfig

    def _build(self) -> CnnNetwork:
        return CnnNetwork(self.spec.n_columns, self.spec.source_columns, self.config)

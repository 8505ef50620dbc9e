"""Multilayer perceptron on summary features, with the input tricks of RealMLP."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
import torch
from msgspec import Meta
from torch import Tensor, nn

from cis490_pipeline.domain import PHASES, Architecture
from cis490_pipeline.features.datasets.window_data import WindowData
from cis490_pipeline.models.nets.layers import PhaseNetwork
from cis490_pipeline.models.nets.neural import NeuralModel
from cis490_pipeline.training.config import TrainConfig

NORMAL_5_TO_95: Final = 3.29
"""Distance between the 5th and 95th percentile of a normal variable, in standard deviations."""
SMALLEST_SCALE: Final = 0.1
"""Lower bound in calibrated units, so that columns constant in training are not amplified."""
SCALE_WINDOWS: Final = 20_000
"""Number of training windows, evenly spaced, from which the scales are computed."""


@dataclass(frozen=True, kw_only=True)
class MlpConfig(TrainConfig):
    """Sizes of the perceptron."""

    widths: tuple[int, ...] = (256, 256)
    """Units of each hidden layer."""
    dropout: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.2

    def problems(self) -> list[str]:
        """Describe the fields out of range."""
        problems = super().problems()
        if not self.widths or min(self.widths) < 1:
            problems.append(f"widths must be positive, got {self.widths}")
        return problems


class MlpNetwork(PhaseNetwork):
    """Robust scaling, smooth clipping, learnt input gains, then linear-norm-GELU layers."""

    center: Tensor
    scale: Tensor

    def __init__(
        self,
        n_columns: int,
        sources: Sequence[slice],
        config: MlpConfig,
        *,
        n_classes: int = len(PHASES),
    ) -> None:
        super().__init__(
            sources, width=config.widths[-1], dropout=config.dropout, n_classes=n_classes
        )
        self.register_buffer("center", torch.zeros(n_columns))
        self.register_buffer("scale", torch.ones(n_columns))
        n_inputs = n_columns + len(sources)
        self.gain = nn.Parameter(torch.ones(n_inputs))
        layers: list[nn.Module] = []
        for before, width in zip((n_inputs, *config.widths), config.widths, strict=False):
            layers += [nn.Linear(before, width), nn.LayerNorm(width), nn.GELU()]
            layers += [nn.Dropout(config.dropout)]
        # The last dropout is applied before the head.
        self.layers = nn.Sequential(*layers[:-1])

    def embed(self, X: Tensor) -> Tensor:
        """(n, n_columns) -> (n, widths[-1])."""
        # Unknowns are filled before the gain: gain times NaN has a NaN gradient even if unused.
        filled: Tensor = self.inputs((X - self.center) / self.scale)
        clipped = filled / torch.sqrt(1 + (filled / 3) ** 2)
        embedding: Tensor = self.layers(clipped * self.gain)
        return embedding


class Mlp(NeuralModel):
    """Perceptron on summary features."""

    architecture = Architecture.MLP
    config_type = MlpConfig
    config: MlpConfig

    def _build(self) -> MlpNetwork:
        return MlpNetwork(self.spec.n_columns, self.spec.source_columns, self.config)

    def _prepare(self, network: PhaseNetwork, train: WindowData) -> None:
        assert isinstance(network, MlpNetwork)
        n_used = min(len(train), SCALE_WINDOWS)
        used = np.linspace(0, len(train) - 1, n_used).astype(np.intp)
        # Sorting puts NaN last, which gives nanquantile without its loop over columns.
        ordered = np.sort(train.take(used), axis=0)
        n_known = np.count_nonzero(~np.isnan(ordered), axis=0)
        columns = np.arange(ordered.shape[1])

        def quantile(q: float) -> npt.NDArray[np.float32]:
            rank = np.rint(q * np.maximum(n_known - 1, 0)).astype(np.intp)
            values: npt.NDArray[np.float32] = np.nan_to_num(ordered[rank, columns], nan=0.0)
            return values

        spread = (quantile(0.95) - quantile(0.05)) / NORMAL_5_TO_95
        network.center.copy_(torch.from_numpy(quantile(0.5)))
        network.scale.copy_(torch.from_numpy(np.maximum(spread, SMALLEST_SCALE)))

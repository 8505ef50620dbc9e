"""Architectures and the twelve models: versions and inputs, without torch or XGBoost."""

from typing import Final, Literal

from cis490_pipeline.domain.terms import Architecture, Variant

InputKind = Literal["summary", "tensor"]
"""What a model reads: a window's summary statistics, or its 10 Hz tensor."""

ARCHITECTURE_VERSIONS: Final[dict[Architecture, int]] = {
    Architecture.GBT: 1,
    Architecture.MLP: 1,
    Architecture.CNN: 2,
    Architecture.GRU: 2,
    Architecture.LSTM: 2,
    Architecture.TRANSFORMER: 2,
}
"""Raised when the same configuration, or the default one, would build or train another model."""

INPUT_KINDS: Final[dict[Architecture, InputKind]] = {
    Architecture.GBT: "summary",
    Architecture.MLP: "summary",
    Architecture.CNN: "tensor",
    Architecture.GRU: "tensor",
    Architecture.LSTM: "tensor",
    Architecture.TRANSFORMER: "tensor",
}
"""Which of a recipe's two datasets an architecture reads."""

MODELS: Final[tuple[tuple[Architecture, Variant], ...]] = tuple(
    (architecture, variant) for architecture in Architecture for variant in Variant
)
"""The twelve models of every recipe."""

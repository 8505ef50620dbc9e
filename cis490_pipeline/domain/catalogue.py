"""Catalogue of architectures and the twelve models; imports neither torch nor XGBoost."""

from typing import Final, Literal

from cis490_pipeline.domain.terms import Architecture, Variant

InputKind = Literal["summary", "tensor"]
"""Input of a model: a window's summary statistics, or its 10 Hz tensor."""

ARCHITECTURE_VERSIONS: Final[dict[Architecture, int]] = {
    Architecture.GBT: 1,
    Architecture.MLP: 1,
    Architecture.CNN: 2,
    Architecture.GRU: 2,
    Architecture.LSTM: 2,
    Architecture.TRANSFORMER: 2,
}
"""Raised when the same, or the default, configuration builds or trains a different model."""

INPUT_KINDS: Final[dict[Architecture, InputKind]] = {
    architecture: "summary" if architecture in (Architecture.GBT, Architecture.MLP) else "tensor"
    for architecture in Architecture
}
"""Which of a recipe's two datasets each architecture reads."""

MODELS: Final[tuple[tuple[Architecture, Variant], ...]] = tuple(
    (architecture, variant) for architecture in Architecture for variant in Variant
)
"""The twelve models of every recipe."""

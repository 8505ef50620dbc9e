"""What is known of the architectures without loading torch or XGBoost: versions, inputs, nodes."""

from typing import Final, Literal

from cis490_pipeline.domain import Architecture

ARCHITECTURE_VERSIONS: Final[dict[Architecture, int]] = {
    Architecture.GBT: 1,
    Architecture.MLP: 1,
    Architecture.CNN: 2,
    Architecture.GRU: 2,
    Architecture.LSTM: 2,
    Architecture.TRANSFORMER: 2,
}
"""Raised when the same configuration, or the default one, would build or train another model."""

INPUT_KINDS: Final[dict[Architecture, Literal["summary", "tensor"]]] = {
    Architecture.GBT: "summary",
    Architecture.MLP: "summary",
    Architecture.CNN: "tensor",
    Architecture.GRU: "tensor",
    Architecture.LSTM: "tensor",
    Architecture.TRANSFORMER: "tensor",
}
"""Which of a recipe's two datasets an architecture reads."""

TREES: Final = "ai.onnx.ml.TreeEnsembleRegressor"

NODES: Final[dict[Architecture, tuple[frozenset[str], frozenset[str]]]] = {
    Architecture.GBT: (frozenset({TREES}), frozenset()),
    Architecture.MLP: (frozenset({"Gemm", "Erf"}), frozenset({TREES, "Conv", "GRU", "LSTM"})),
    Architecture.CNN: (frozenset({"Conv", "Relu"}), frozenset({TREES, "GRU", "LSTM", "Erf"})),
    Architecture.GRU: (frozenset({"GRU", "Conv"}), frozenset({TREES, "LSTM", "Erf"})),
    Architecture.LSTM: (frozenset({"LSTM", "Conv"}), frozenset({TREES, "GRU", "Erf"})),
    Architecture.TRANSFORMER: (
        frozenset({"Conv", "MatMul", "Erf"}),
        frozenset({TREES, "GRU", "LSTM", "Relu"}),
    ),
}
"""Nodes that an architecture's export has, and those of others, which it has not."""

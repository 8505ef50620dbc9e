"""ONNX operators that identify each architecture's export."""

from typing import Final

from cis490_pipeline.domain import Architecture

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
"""Operators required and forbidden in each architecture's export."""

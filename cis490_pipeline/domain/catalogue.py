"""Catalogue of architectures, variants and models; imports neither torch nor XGBoost."""

from typing import Final, Literal

from cis490_pipeline.domain.telemetry import Source
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

VARIANT_SOURCES: Final[dict[Variant, tuple[Source, ...]]] = {
    Variant.REALISTIC: (Source.GUEST, Source.NETFLOW),
    Variant.ORACLE: tuple(Source),
    Variant.NETWORK: (Source.NETFLOW,),
}
"""Sources whose channels each variant sees."""

RUN_VARIANTS: Final = (Variant.REALISTIC, Variant.ORACLE)
"""Variants of every recipe run; the others are trained on request."""

Model = tuple[Architecture, Variant]


def _models(variants: tuple[Variant, ...]) -> tuple[Model, ...]:
    return tuple((architecture, variant) for architecture in Architecture for variant in variants)


MODELS: Final = _models(RUN_VARIANTS)
"""The twelve models of every recipe run."""

ON_REQUEST: Final = _models(tuple(v for v in Variant if v not in RUN_VARIANTS))
"""Models that only ``cis490 train --variant`` makes; shown wherever they have been made."""

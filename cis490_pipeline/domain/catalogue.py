"""Catalogue of architectures, variants and models; imports neither torch nor XGBoost."""

from typing import Final, Literal

from cis490_pipeline.domain.telemetry import Source
from cis490_pipeline.domain.terms import Architecture, Variant

FlatKind = Literal["summary", "history"]
"""A window as one row of features: its summary statistics, or these and the 20 s before it."""

InputKind = Literal["summary", "history", "tensor"]
"""Input of a model: a window's row of features, or its 10 Hz tensor."""

DEFAULT_FEATURES: Final[FlatKind] = "summary"

ARCHITECTURE_VERSIONS: Final[dict[Architecture, int]] = {
    Architecture.GBT: 1,
    Architecture.MLP: 1,
    Architecture.CNN: 2,
    Architecture.GRU: 2,
    Architecture.LSTM: 2,
    Architecture.TRANSFORMER: 2,
}
"""Raised when the same, or the default, configuration builds or trains a different model."""

INPUT_KINDS: Final[dict[Architecture, tuple[InputKind, ...]]] = {
    architecture: ("summary", "history")
    if architecture in (Architecture.GBT, Architecture.MLP)
    else ("tensor",)
    for architecture in Architecture
}
"""Inputs each architecture can take; which one a model takes, settings and its checkpoint say."""


def input_kind(architecture: Architecture, features: FlatKind = DEFAULT_FEATURES) -> InputKind:
    """Return the input an architecture takes where rows of features are of this kind."""
    kinds = INPUT_KINDS[architecture]
    return features if features in kinds else kinds[0]


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

"""The twelve models; versions and inputs of their architectures, without torch or XGBoost."""

from typing import Final

from cis490_pipeline.checkpoints.architectures import ARCHITECTURE_VERSIONS, INPUT_KINDS
from cis490_pipeline.domain import Architecture, Variant

__all__ = ["ARCHITECTURE_VERSIONS", "INPUT_KINDS", "MODELS"]

MODELS: Final[tuple[tuple[Architecture, Variant], ...]] = tuple(
    (architecture, variant) for architecture in Architecture for variant in Variant
)
"""The twelve models of every recipe."""

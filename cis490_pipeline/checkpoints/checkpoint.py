"""Checkpoint contents, and the digest that identifies a model."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypedDict

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import PHASES, Architecture, Variant
from cis490_pipeline.domain.terms import Setting, model_name
from cis490_pipeline.features.calibration.calibrator import Calibrator
from cis490_pipeline.features.calibration.cleanliness import CleanlinessCheck
from cis490_pipeline.features.schema import FeatureSchema
from cis490_pipeline.storage.files import canonical_json
from cis490_pipeline.storage.json_text import Json

FORMAT_VERSION: Final = 3
"""Since version 3 the manifest has a seal over its content and the digest of the weights."""
GOLDEN_TOLERANCE: Final = 1e-4
"""Float32 rounding on another processor stays far below; another model is far above."""

Arrays = Mapping[str, npt.NDArray[Any]]
Metrics = Mapping[str, float | int | str | None]
"""Scores on the validation side by name."""


class SavedEpoch(TypedDict):
    """One epoch of a network, or one boosting round, as a manifest carries it."""

    epoch: int
    train_loss: float | None
    val_loss: float | None
    val_macro_f1: float | None
    lr: float | None


class SavedHistory(TypedDict, total=False):
    """A whole training, as a manifest carries it; empty in a checkpoint made without one."""

    epochs: list[SavedEpoch]
    best_epoch: int
    best_val_macro_f1: float | None
    stopped_early: bool
    n_steps: int
    n_train_windows: int
    n_val_windows: int
    threads: int
    device: str


@dataclass(frozen=True, eq=False)
class Golden:
    """Golden windows: a few inputs with the probabilities the model gave at training."""

    inputs: npt.NDArray[np.float32]
    """(n_windows, *shape) calibrated; NaN is unknown."""
    probabilities: npt.NDArray[np.float64]
    """(n_windows, 5)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A trained model with everything needed to use, reproduce and assess it.

    A network has ``weights``, trees have a ``booster``; the other is empty.
    """

    architecture: Architecture
    architecture_version: int
    variant: Variant
    config: Mapping[str, Setting]
    """All settings of the architecture as plain values."""
    schema: FeatureSchema
    """Feature schema of the model's input."""
    calibrator: Calibrator
    seed: int
    threads: int
    data_digest: str
    """Digest of the training dataset."""
    split_digest: str
    """Digest of the split that selected its episodes."""
    golden: Golden
    cleanliness: CleanlinessCheck | None = None
    """Detects a baseline recorded while infected; None if train was too small to fit it."""
    weights: Arrays = field(default_factory=dict)
    booster: bytes = b""
    """XGBoost's ``.ubj``."""
    onnx: bytes = b""
    """The same model for inference without torch or XGBoost; empty if it was not exported."""
    commit: str | None = None
    """Commit of the code that trained it, if known."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Library -> version at training."""
    computed_on: Mapping[str, str] = field(default_factory=dict)
    """Processor and kernels at training, from ``checkpoints.processor``; empty in older files."""
    history: SavedHistory = field(default_factory=SavedHistory)
    metrics: Metrics = field(default_factory=dict)
    """Validation scores; test scores are in the evaluation report."""
    classes: tuple[str, ...] = tuple(str(phase) for phase in PHASES)
    """Phases in the order of the probability columns."""

    @property
    def name(self) -> str:
        """Name in files, events and reports, such as ``gbt_realistic``."""
        return model_name(self.architecture, self.variant)

    @property
    def input_kind(self) -> str:
        """``summary`` or ``tensor``."""
        return self.schema.kind

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that determines predictions: weights, calibration, features, classes.

        Equal trainings have equal digests; dates, histories and library versions are excluded.
        """
        meaning: dict[str, Json] = {
            "architecture": str(self.architecture),
            "architecture_version": self.architecture_version,
            "calibrator": self.calibrator.digest,
            "classes": list(self.classes),
            "cleanliness": self.cleanliness.digest if self.cleanliness is not None else None,
            "config": dict(self.config),
            "feature_schema": self.schema.hash,
            "format_version": FORMAT_VERSION,
            "variant": str(self.variant),
        }
        booster = hashlib.sha256(self.booster).digest()
        return meaning_digest(meaning, booster=booster, weights=arrays_digest(self.weights))


def meaning_digest(meaning: Mapping[str, Json], *, booster: bytes, weights: bytes) -> str:
    """SHA-256 of everything that determines predictions, given those of booster and weights.

    A device that only has the ONNX model can therefore compute it too.
    """
    total = hashlib.sha256(canonical_json(meaning))
    total.update(booster)
    total.update(weights)
    return total.hexdigest()


def arrays_digest(arrays: Arrays) -> bytes:
    """SHA-256 of named arrays: names, types, shapes and values, sorted by name.

    Hashes values rather than a file, because the order of safetensors metadata is arbitrary.
    """
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        total.update(canonical_json([name, str(array.dtype), list(array.shape)]))
        total.update(little.tobytes())
    return total.digest()

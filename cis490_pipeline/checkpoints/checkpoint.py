"""What a checkpoint holds, and the digest of what it means."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import PHASES, Architecture, Variant
from cis490_pipeline.domain.terms import model_name
from cis490_pipeline.features.calibration.calibrator import Calibrator
from cis490_pipeline.features.calibration.cleanliness import CleanlinessCheck
from cis490_pipeline.features.schema import FeatureSchema
from cis490_pipeline.storage.files import canonical_json

FORMAT_VERSION: Final = 3
"""From 3 on the manifest has a seal over all it says, and the digest of the weights."""
BUNDLED_FORMATS: Final = (2, 3)
"""Formats that are still read out of a bundle, which has digests of its own."""
GOLDEN_TOLERANCE: Final = 1e-4
"""Another processor rounds float32 otherwise by far less; another model differs by far more."""

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Golden:
    """A few windows and what the model said of them when it was trained."""

    inputs: npt.NDArray[np.float32]
    """(n_windows, *shape) calibrated; NaN is unknown."""
    probabilities: npt.NDArray[np.float64]
    """(n_windows, 5)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A trained model with all that is needed to use, repeat and judge it.

    A network has ``weights``, trees have a ``booster``; the other is empty.
    """

    architecture: Architecture
    architecture_version: int
    variant: Variant
    config: Mapping[str, Any]
    """Settings of the architecture, all of them, as plain values."""
    schema: FeatureSchema
    """What its features mean; its kind is the kind of the model's input."""
    calibrator: Calibrator
    seed: int
    threads: int
    data_digest: str
    """Of the dataset it was trained on."""
    split_digest: str
    """Of the split that said which episodes these are."""
    golden: Golden
    cleanliness: CleanlinessCheck | None = None
    """What tells a baseline taken while infected; None where train was too small to fit one."""
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
    """Processor and kernels at training, as ``checkpoints.processor`` describes them; empty in
    checkpoints older than that."""
    history: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Scores on the validation side; the test side is scored elsewhere."""
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
        """SHA-256 of what decides a prediction: weights, calibration, features, classes, sizes.

        Training twice alike gives the same digest; file dates, histories and library versions
        are not part of it.
        """
        meaning = {
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


def meaning_digest(meaning: Mapping[str, Any], *, booster: bytes, weights: bytes) -> str:
    """SHA-256 of what decides a prediction, from the SHA-256 of booster and weights.

    They need not be at hand: a device that only has the ONNX model computes it too.
    """
    total = hashlib.sha256(canonical_json(meaning))
    total.update(booster)
    total.update(weights)
    return total.hexdigest()


def arrays_digest(arrays: Arrays) -> bytes:
    """SHA-256 of named arrays: names, types, shapes and values, in the order of names.

    Of the values and not of a file, because safetensors orders metadata as it likes.
    """
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        total.update(canonical_json([name, str(array.dtype), list(array.shape)]))
        total.update(little.tobytes())
    return total.digest()

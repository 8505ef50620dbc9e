"""What of a checkpoint a small device needs: its ONNX model and calibration, no weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from cis490_pipeline.checkpoints.checkpoint import GOLDEN_TOLERANCE
from cis490_pipeline.checkpoints.loading import (
    calibration_of,
    golden_of,
    open_manifest,
    read_member,
)
from cis490_pipeline.checkpoints.manifest import CALIBRATION, GOLDEN, MANIFEST, ONNX, Manifest
from cis490_pipeline.checkpoints.session import OnnxClassifier
from cis490_pipeline.domain import Architecture, Variant
from cis490_pipeline.domain.terms import model_name
from cis490_pipeline.errors import CheckpointError
from cis490_pipeline.features.calibration import Calibrator
from cis490_pipeline.features.cleanliness import CleanlinessCheck
from cis490_pipeline.features.schema import FeatureSchema, feature_schema

RUNNABLE_FILES: Final = (MANIFEST, CALIBRATION, GOLDEN, ONNX)
"""Files of a checkpoint that are enough to run it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RunnableModel:
    """A model ready to predict, and all of its checkpoint but the weights."""

    name: str
    manifest: Manifest
    schema: FeatureSchema
    calibrator: Calibrator
    cleanliness: CleanlinessCheck | None
    classifier: OnnxClassifier


def load_runnable(folder: Path, *, threads: int = 1) -> RunnableModel:
    """Open a checkpoint for ONNX Runtime, and see that it says what it said when trained.

    Parameters
    ----------
    folder : a checkpoint, or the part of one that a bundle holds.
    threads : of one prediction.

    Raises
    ------
    CheckpointError
        If a file is missing or changed, the model was not exported, cannot be run here, or answers
        its golden windows otherwise than when it was trained.
    SchemaMismatchError
        If it was trained on other features than this code builds.
    """
    manifest, schema, _ = open_manifest(folder, None)
    # Only now: the kind and the variant are known to be some that exist.
    open_manifest(folder, feature_schema(schema.kind, schema.variant))
    lacking = sorted({CALIBRATION, GOLDEN, ONNX} - manifest.files.keys())
    if lacking:
        raise CheckpointError(
            f"{folder / MANIFEST}: lists no {', '.join(lacking)}; train it again, which exports it"
        )
    content = read_member(folder, manifest, CALIBRATION)
    calibrator, cleanliness = calibration_of(folder, manifest, schema, content)
    try:
        classifier = OnnxClassifier(read_member(folder, manifest, ONNX), threads=threads)
    except CheckpointError as fault:
        raise CheckpointError(f"{folder}: {fault}") from fault
    golden = golden_of(folder, read_member(folder, manifest, GOLDEN))
    said = classifier.predict_proba(golden.inputs)
    difference = float(np.abs(said - golden.probabilities).max(initial=0.0))
    # Written so that NaN fails.
    if not difference <= GOLDEN_TOLERANCE:
        raise CheckpointError(
            f"{folder}: its golden windows differ by {difference:.3g} in a probability on this "
            f"machine, allowed is {GOLDEN_TOLERANCE:g}; trained with {dict(manifest.versions)}"
        )
    try:
        architecture, variant = Architecture(manifest.architecture), Variant(manifest.variant)
    except ValueError as unknown:
        raise CheckpointError(f"{folder / MANIFEST}: {unknown}") from unknown
    return RunnableModel(
        name=model_name(architecture, variant),
        manifest=manifest,
        schema=schema,
        calibrator=calibrator,
        cleanliness=cleanliness,
        classifier=classifier,
    )

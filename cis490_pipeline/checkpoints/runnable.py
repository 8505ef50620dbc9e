"""Runnable part of a checkpoint: ONNX model and calibration, without weights."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cis490_pipeline.checkpoints.checkpoint import FORMAT_VERSION
from cis490_pipeline.checkpoints.manifest import CALIBRATION, GOLDEN, MANIFEST, ONNX, Manifest
from cis490_pipeline.checkpoints.members import open_manifest
from cis490_pipeline.checkpoints.onnx.session import OnnxClassifier
from cis490_pipeline.checkpoints.verification import Examined, classifiers, examine
from cis490_pipeline.domain.terms import model_name
from cis490_pipeline.features.calibration.calibrator import Calibrator
from cis490_pipeline.features.calibration.cleanliness import CleanlinessCheck
from cis490_pipeline.features.schema import FeatureSchema, feature_schema

RUNNABLE_FILES: Final = (MANIFEST, CALIBRATION, GOLDEN, ONNX)
"""Files of a checkpoint that suffice to run it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RunnableModel:
    """A model ready to predict, with its checkpoint except the weights."""

    name: str
    manifest: Manifest
    schema: FeatureSchema
    calibrator: Calibrator
    cleanliness: CleanlinessCheck | None
    classifier: OnnxClassifier


def load_runnable(folder: Path, *, threads: int = 1) -> RunnableModel:
    """Open one checkpoint for ONNX Runtime, as ``load_runnables`` does."""
    return load_runnables([folder], threads=threads)[0]


def load_runnables(
    folders: Sequence[Path], *, threads: int = 1, formats: Collection[int] = (FORMAT_VERSION,)
) -> tuple[RunnableModel, ...]:
    """Open checkpoints for ONNX Runtime and verify each on its golden windows.

    Raises
    ------
    CheckpointError
        If a file is missing or changed, the model was not exported, cannot run here, or does not
        reproduce its golden windows.
    SchemaMismatchError
        If one was trained on other features than this code builds.
    """
    examined = [_examined(folder, formats) for folder in folders]
    opened = classifiers(examined, threads=threads)
    return tuple(map(_runnable, examined, opened))


def _examined(folder: Path, formats: Collection[int]) -> Examined:
    # Opened first without an expected schema, to validate the kind and variant it depends on.
    _, schema = open_manifest(folder, None, formats)
    current = feature_schema(schema.kind, schema.variant)
    return examine(folder, current, whole=False, formats=formats)


def _runnable(examined: Examined, classifier: OnnxClassifier | None) -> RunnableModel:
    assert classifier is not None, "without weights an export is needed"
    return RunnableModel(
        name=model_name(examined.architecture, examined.variant),
        manifest=examined.manifest,
        schema=examined.schema,
        calibrator=examined.calibrator,
        cleanliness=examined.cleanliness,
        classifier=classifier,
    )

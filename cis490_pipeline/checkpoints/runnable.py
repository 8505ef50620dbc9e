"""What of a checkpoint a small device needs: its ONNX model and calibration, no weights."""

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
    """Open one checkpoint for ONNX Runtime, as ``load_runnables`` does.

    Raises
    ------
    CheckpointError, SchemaMismatchError
        As ``load_runnables``.
    """
    return load_runnables([folder], threads=threads)[0]


def load_runnables(
    folders: Sequence[Path], *, threads: int = 1, formats: Collection[int] = (FORMAT_VERSION,)
) -> tuple[RunnableModel, ...]:
    """Open checkpoints for ONNX Runtime; each answers its golden windows as it was trained to.

    Parameters
    ----------
    folders : of checkpoints, or the parts of them that a bundle holds.
    threads : of one prediction.
    formats : versions of the manifest that are read.

    Raises
    ------
    CheckpointError
        If a file is missing or changed, the model was not exported, cannot be run here, or answers
        its golden windows otherwise than when it was trained.
    SchemaMismatchError
        If one was trained on other features than this code builds.
    """
    examined = [_examined(folder, formats) for folder in folders]
    opened = classifiers(examined, threads=threads)
    return tuple(map(_runnable, examined, opened))


def _examined(folder: Path, formats: Collection[int]) -> Examined:
    # First what is saved: then the kind and the variant are known to be some that exist.
    _, schema = open_manifest(folder, None, formats)
    current = feature_schema(schema.kind, schema.variant)
    return examine(folder, current, whole=False, formats=formats)


def _runnable(found: Examined, classifier: OnnxClassifier | None) -> RunnableModel:
    assert classifier is not None, "without weights an export is needed"
    return RunnableModel(
        name=model_name(found.architecture, found.variant),
        manifest=found.manifest,
        schema=found.schema,
        calibrator=found.calibrator,
        cleanliness=found.cleanliness,
        classifier=classifier,
    )

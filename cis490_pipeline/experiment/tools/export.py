"""A checkpoint as one ONNX file for other programs, compared with the model it comes from."""

from pathlib import Path
from typing import TypedDict

from cis490_pipeline.checkpoints.loading import load_checkpoint
from cis490_pipeline.checkpoints.members import read_manifest
from cis490_pipeline.domain import Variant
from cis490_pipeline.errors import CheckpointError
from cis490_pipeline.features.schema import feature_schema
from cis490_pipeline.storage.files import atomic_write


class Export(TypedDict):
    """An exported model, and how far its predictions are from the checkpoint's.

    ``differences`` is the largest difference of a probability at each batch size tried.
    """

    model: str
    checkpoint_digest: str
    path: str
    bytes: int
    input: list[str | int]
    output: list[str | int]
    classes: list[str]
    differences: dict[str, float]


def export_checkpoint(folder: Path, out: Path | None = None) -> Export:
    """Export a checkpoint as ONNX, and write the file once its predictions equal the model's.

    Parameters
    ----------
    folder : of the checkpoint; only read.
    out : file to write; by default ``<model>.onnx`` in the working folder.

    Raises
    ------
    CheckpointError
        If the checkpoint is damaged, no longer reproduces its golden vectors, or the export differs
        from it; nothing is written then.
    SchemaMismatchError
        If it was trained on other features than this code builds.
    """
    from cis490_pipeline.models.export.onnx import export_onnx, parity
    from cis490_pipeline.models.registry import restore

    manifest = read_manifest(folder)
    try:
        wanted = feature_schema(manifest.input_kind, Variant(manifest.variant))
    except ValueError as unknown:
        raise CheckpointError(
            f"{folder}: a {manifest.variant!r} model of {manifest.input_kind!r} windows is none "
            "that this code knows"
        ) from unknown
    checkpoint = load_checkpoint(folder, wanted)
    model = restore(checkpoint)
    onnx = export_onnx(model)
    path = out or Path(f"{checkpoint.name}.onnx")
    atomic_write(path, lambda file: file.write(onnx))
    return {
        "model": checkpoint.name,
        "checkpoint_digest": checkpoint.digest,
        "path": str(path),
        "bytes": len(onnx),
        "input": ["n", *model.spec.shape],
        "output": ["n", len(checkpoint.classes)],
        "classes": list(checkpoint.classes),
        "differences": {str(n): difference for n, difference in parity(model, onnx).items()},
    }

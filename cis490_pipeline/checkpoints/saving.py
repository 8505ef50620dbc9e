"""Atomic writing of checkpoint folders."""

import hashlib
import os
import secrets
import shutil
from glob import escape
from pathlib import Path

import msgspec
import numpy as np
from safetensors.numpy import save as safetensors_bytes

from cis490_pipeline.checkpoints.checkpoint import Arrays, Checkpoint
from cis490_pipeline.checkpoints.manifest import (
    BOOSTER,
    CALIBRATION,
    CLEANLINESS,
    GOLDEN,
    MANIFEST,
    MEMBER_LIMITS,
    ONNX,
    WEIGHTS,
    FileRecord,
    manifest_of,
)
from cis490_pipeline.errors import CheckpointError
from cis490_pipeline.storage.files import naming, swap_in, write_json


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint atomically, replacing an existing one; return the path of its manifest.

    Unrelated files in the folder (predictions with their count of test openings, further seeds)
    are kept. Raises `CheckpointError` if it has neither weights nor a booster, or a weight is not
    finite.

    Notes
    -----
    A kill at any point leaves the old or the new checkpoint, never a mixture. Between two renames
    the old one briefly has a temporary name, from which the next save restores it. Two processes
    must not save to one folder at once; a stage's lock ensures that.
    """
    if bool(checkpoint.weights) == bool(checkpoint.booster):
        raise CheckpointError(
            f"{folder}: a checkpoint holds either weights or a booster, this one has "
            f"{len(checkpoint.weights)} arrays and {len(checkpoint.booster)} bytes of booster"
        )
    require_finite(folder, checkpoint.weights)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _recover(folder)
    fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.new")
    with naming(folder, "cannot be written"):
        fresh.mkdir()
        try:
            _write_members(fresh, checkpoint)
            old = swap_in(fresh, folder)
            if old is not None:
                _take_along(old, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return folder / MANIFEST


def require_finite(folder: Path, weights: Arrays) -> None:
    """Raise `CheckpointError` if any weight is not finite, naming the first such tensor by name."""
    for name, array in sorted(weights.items()):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            n_wrong = int((~np.isfinite(array)).sum())
            raise CheckpointError(
                f"{folder}: {n_wrong} of {array.size} values of tensor {name!r} are not finite; "
                "train the model again"
            )


def _write_members(folder: Path, checkpoint: Checkpoint) -> None:
    golden: Arrays = {
        "inputs": checkpoint.golden.inputs,
        "probabilities": checkpoint.golden.probabilities,
    }
    members = {
        CALIBRATION: _tensors(_calibration_arrays(checkpoint)),
        GOLDEN: _tensors(golden),
    }
    if checkpoint.weights:
        members[WEIGHTS] = _tensors(checkpoint.weights)
    if checkpoint.booster:
        members[BOOSTER] = checkpoint.booster
    if checkpoint.onnx:
        members[ONNX] = checkpoint.onnx
    files = {}
    for name, content in members.items():
        with (folder / name).open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        files[name] = FileRecord(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    # Written last: a folder without a manifest is not a checkpoint.
    write_json(folder / MANIFEST, msgspec.to_builtins(manifest_of(checkpoint, files)))


def _calibration_arrays(checkpoint: Checkpoint) -> Arrays:
    check = checkpoint.cleanliness.arrays() if checkpoint.cleanliness else {}
    prefixed = {f"{CLEANLINESS}{name}": array for name, array in check.items()}
    return {**checkpoint.calibrator.arrays(), **prefixed}


def _tensors(arrays: Arrays) -> bytes:
    # No metadata: safetensors writes several keys in random order. The reshape undoes that
    # ascontiguousarray turns a scalar (BatchNorm's batch counter) into an array of one element.
    whole = {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in arrays.items()}
    return safetensors_bytes(whole)


def _take_along(old: Path, folder: Path) -> None:
    """Move unrelated files to the new folder and delete the old one."""
    for entry in sorted(old.iterdir()):
        if entry.name not in MEMBER_LIMITS and not (folder / entry.name).exists():
            entry.rename(folder / entry.name)
    shutil.rmtree(old)


def _recover(folder: Path) -> None:
    """Recover from a killed save, so that no file of the folder is lost."""
    for old in sorted(folder.parent.glob(f".{escape(folder.name)}.*.old")):
        if folder.exists():
            _take_along(old, folder)
        else:
            old.rename(folder)
    for fresh in folder.parent.glob(f".{escape(folder.name)}.*.new"):
        shutil.rmtree(fresh)

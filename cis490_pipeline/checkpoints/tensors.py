"""Bounded reading of safetensors files: the header is validated before the library parses it."""

import math
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as safetensors_arrays

from cis490_pipeline.errors import CheckpointError
from cis490_pipeline.storage.json_text import decode_json

MAX_HEADER: Final = 1 << 20
MAX_TENSORS: Final = 4096
"""Upper bound; a transformer of 60 blocks has fewer."""
_MAX_RANK: Final = 6
_BYTES: Final = {"F32": 4, "F64": 8, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}
"""Element types of a checkpoint's arrays, with their size in bytes."""


class _Tensor(msgspec.Struct, forbid_unknown_fields=True):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def read_tensors(path: Path, content: bytes) -> dict[str, npt.NDArray[Any]]:
    """Decode the arrays of a file, by name.

    Raises `CheckpointError` if the header is too long or malformed, a type is unknown, or the
    tensors overlap, leave gaps, or do not fill the file.
    """
    try:
        _require_header(content)
        return safetensors_arrays(content)
    except (msgspec.DecodeError, _WrongError, SafetensorError, KeyError, ValueError) as fault:
        raise CheckpointError(f"{path}: no readable safetensors file: {fault}") from fault


class _WrongError(ValueError):
    """A header is invalid."""


def _require_header(content: bytes) -> None:
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(MAX_HEADER, len(content) - 8):
        raise _WrongError(f"a header of {size} bytes in a file of {len(content)}")
    header = decode_json(content[8 : 8 + size].rstrip(b" "), dict[str, _Tensor])
    if len(header) > MAX_TENSORS:
        raise _WrongError(f"{len(header)} tensors, at most {MAX_TENSORS} are read")
    end = 0
    for name, tensor in sorted(header.items(), key=lambda item: item[1].data_offsets):
        shape = tensor.shape
        if tensor.dtype not in _BYTES or len(shape) > _MAX_RANK or any(n < 0 for n in shape):
            raise _WrongError(f"{name[:60]!r} is {tensor.dtype[:20]!r} of shape {shape[:8]}")
        n_bytes = math.prod(shape) * _BYTES[tensor.dtype]
        if tensor.data_offsets != (end, end + n_bytes):
            raise _WrongError(
                f"{name[:60]!r} lies at {tensor.data_offsets}, wanted {(end, end + n_bytes)}"
            )
        end += n_bytes
    if 8 + size + end != len(content):
        raise _WrongError(f"its tensors end at {8 + size + end} of {len(content)} bytes")

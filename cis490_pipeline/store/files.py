"""Files written whole or not at all, and digests that mean the same on every machine."""

import hashlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import polars as pl

from cis490_pipeline.errors import StoreError
from cis490_pipeline.store.json_text import decode_value

_CHUNK: Final = 1 << 20


def atomic_write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under a temporary name beside its own, then rename it.

    Parameters
    ----------
    path : the file to make or replace; missing folders are made.
    write : is handed the open binary file; what it raises is passed on and leaves `path` as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        # "x" and no tempfile module: the result gets the permissions of the umask, not 0600.
        with temporary.open("xb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def canonical_json(value: Any) -> bytes:
    """Return the one JSON text of a value: sorted keys, no spaces, UTF-8, no NaN.

    Raises
    ------
    ValueError
        If a number is NaN or infinite, which JSON has no word for.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def digest(value: Any) -> str:
    """Return the SHA-256 (hex) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write a value as sorted, indented JSON, atomically."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    atomic_write(path, lambda stream: _write_all(stream, text.encode() + b"\n"))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    StoreError
        If the file is missing, is not UTF-8 or not JSON, or is nested too deep; the message names
        it.
    """
    try:
        return decode_value(path.read_bytes())
    except FileNotFoundError as missing:
        raise StoreError(f"{path}: no such file") from missing
    except msgspec.DecodeError as wrong:
        raise StoreError(f"{path}: not JSON: {wrong}") from wrong


def read_object(path: Path, *keys: str) -> dict[str, Any]:
    """Read a JSON file that holds an object with certain keys.

    Raises
    ------
    StoreError
        As ``read_json``, or if it holds something else or lacks a key.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise StoreError(f"{path}: holds a JSON {type(value).__name__}, wanted an object")
    missing = [key for key in keys if key not in value]
    if missing:
        raise StoreError(f"{path}: has no {', '.join(missing)}; it is not complete, make it again")
    return value


def write_parquet(path: Path, frame: pl.DataFrame) -> None:
    """Write a frame as zstd-compressed parquet, atomically."""
    atomic_write(path, lambda stream: frame.write_parquet(stream, compression="zstd"))


def printable(name: str) -> str:
    """Return a file's name as text that UTF-8 can hold, whatever bytes the file system gave."""
    return name.encode("utf-8", "backslashreplace").decode()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's bytes, read in pieces."""
    total = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_CHUNK):
            total.update(piece)
    return total.hexdigest()


def _write_all(stream: BinaryIO, content: bytes) -> None:
    stream.write(content)

"""Content-addressed files: named by their digest, written once, never changed."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from cis490_pipeline.storage.files import atomic_write


def write_named(folder: Path, stem: str, suffix: str, content: bytes | memoryview) -> str:
    """Write ``<stem>-<12 digits of the SHA-256><suffix>`` unless it exists; return its name."""
    name = f"{stem}-{hashlib.sha256(content).hexdigest()[:12]}{suffix}"
    if not (folder / name).is_file():
        atomic_write(folder / name, lambda stream: stream.write(content))
    return name


def remove_superseded(folder: Path, patterns: Iterable[str], keep: Iterable[str]) -> None:
    """Remove files matching `patterns` that the manifest just written does not name."""
    kept = set(keep)
    for pattern in patterns:
        for path in folder.glob(pattern):
            if path.name not in kept:
                path.unlink(missing_ok=True)

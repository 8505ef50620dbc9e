"""What this process computes with: versions of libraries, and a digest of this package's code."""

import hashlib
import importlib.metadata
import platform
from functools import cache
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parents[1]
LIBRARIES: Final = (
    *("cloudpickle", "dask", "distributed", "msgpack"),
    *("fsspec", "msgspec", "numpy", "polars", "zstandard"),
)
"""What reads and grids an episode, and what carries it between processes."""


@cache
def code_digest() -> str:
    """Return a SHA-256 (hex) of the names and contents of this package's modules.

    Two checkouts of one version are told apart by it; the version alone would not.
    """
    found = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        found.update(f"{path.relative_to(PACKAGE).as_posix()}\0".encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def installed() -> dict[str, str]:
    """Return what results depend on, by name: interpreter, machine, code, libraries.

    A library that is not installed is ``not installed``.
    """
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cis490_pipeline's code": code_digest()[:16],
        **{name: _version(name) for name in LIBRARIES},
    }


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"

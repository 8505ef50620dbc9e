"""Computing environment of this process: library versions and a digest of this package's code."""

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
"""Libraries that read and grid episodes, and that carry them between processes."""


@cache
def code_digest() -> str:
    """SHA-256 (hex) of the names and contents of this package's modules.

    Distinguishes two checkouts of the same version.
    """
    total = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        total.update(f"{path.relative_to(PACKAGE).as_posix()}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def installed() -> dict[str, str]:
    """Versions that results depend on: interpreter, machine, code and libraries.

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

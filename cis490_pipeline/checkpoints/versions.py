"""Versions of the libraries that results depend on."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final

_LIBRARIES: Final = (
    *("cis490_pipeline", "dagster", "numpy", "onnx", "onnxruntime", "polars", "safetensors"),
    *("scikit-learn", "scipy", "torch", "xgboost", "xgboost-cpu"),
)


@cache
def library_versions() -> dict[str, str]:
    """Versions of Python and of the installed libraries that results can depend on."""
    versions = {"python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return versions

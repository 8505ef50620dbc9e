"""Where a number comes from: versions, threads, commit, machine class."""

import importlib.metadata
import platform
import subprocess
from functools import cache
from pathlib import Path

PACKAGES = (
    "cis490_pipeline",
    "numpy",
    "polars",
    "scikit-learn",
    "torch",
    "xgboost-cpu",
    "onnxruntime",
    "dagster",
)


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of every installed package that can change a number."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


@cache
def commit() -> str:
    """Commit of the code that runs, with ``+dirty`` after it if files differ; else ``unknown``."""
    here = Path(__file__).parent
    head = _git(here, "rev-parse", "HEAD")
    if head is None:
        return "unknown"
    changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    return head + ("+dirty" if changed else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed words, no shell
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def machine() -> str:
    """Processor family and system, nothing that names a person or a host."""
    return f"{platform.system()} {platform.machine()}"

"""Where a number comes from: the commit and the class of machine."""

import platform
import subprocess
from functools import cache
from pathlib import Path


@cache
def commit() -> str:
    """Commit of the code that runs, with ``+dirty`` after it if the package differs from it.

    ``unknown`` outside a git checkout. Other files do not count: a store in the same repository
    grows while it is recorded.
    """
    package = Path(__file__).parents[2]
    head = _git(package, "rev-parse", "HEAD")
    if head is None:
        return "unknown"
    changed = _git(package, "status", "--porcelain", "--untracked-files=no", "--", ".")
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
    """System and architecture; what processor it is, ``checkpoints.processor`` says."""
    return f"{platform.system()} {platform.machine()}"

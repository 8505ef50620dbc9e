"""The lock of one scope of the data folder: who holds it makes that scope's artefacts alone."""

from pathlib import Path

from filelock import FileLock


def lock_of(folder: Path) -> FileLock:
    """Return the lock of a scope's records; who holds it may take it again."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_name(f"{folder.name}.lock"), is_singleton=True)

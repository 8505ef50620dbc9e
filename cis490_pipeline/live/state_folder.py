"""A device's state folder: held by one process, without what killed writes left."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cis490_pipeline.errors import ConfigError
from cis490_pipeline.storage.files import remove_unfinished


@contextmanager
def held_state(folder: Path | None) -> Iterator[None]:
    """Hold a state folder, made if it is not there; None holds nothing.

    Two processes that store there would overwrite each other's alarms, and a restart would
    continue with whichever wrote last. A folder that cannot be written is not held: what stores
    there says so, and tries again.

    Raises
    ------
    ConfigError
        If another process holds it.
    """
    if folder is None:
        yield
        return
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        remove_unfinished(folder)
    except Timeout:
        raise ConfigError(
            f"{folder}: another `cis490 watch` or `live` stores its state there; stop that one, or "
            "name another folder with --state"
        ) from None
    except OSError:
        lock.release()
    try:
        yield
    finally:
        lock.release()

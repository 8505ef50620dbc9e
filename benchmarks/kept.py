"""Pieces of a long benchmark, kept as they are made: a stopped run goes on where it was."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cis490_pipeline.errors import DatasetError
from cis490_pipeline.storage.files import atomic_write, read_json, write_json

Arrays = dict[str, npt.NDArray[Any]]

VERSIONS_FILE = "versions.json"


class Kept:
    """Arrays by a description of all they depend on.

    Parameters
    ----------
    folder : where they lie.
    versions : of the libraries they are made with.

    Raises
    ------
    DatasetError
        If what lies there was made with other versions.
    """

    def __init__(self, folder: Path, versions: Mapping[str, str]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / VERSIONS_FILE
        if not path.is_file():
            write_json(path, dict(versions))
        if (found := read_json(path)) != versions:
            differing = sorted(k for k in {*found, *versions} if found.get(k) != versions.get(k))
            raise DatasetError(
                f"{folder}: its pieces were made with other versions of {', '.join(differing)}; "
                "remove the folder, or name another one"
            )

    def get(self, what: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
        """Read what was kept under this description, or make and keep it."""
        text = json.dumps(what, sort_keys=True)
        path = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"
        if not path.is_file():
            arrays = make() | {"what": np.array(text)}
            atomic_write(path, lambda file: np.savez_compressed(file, **arrays))
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}

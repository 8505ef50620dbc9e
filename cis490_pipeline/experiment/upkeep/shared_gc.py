"""Garbage collection in a data folder that several machines share.

No lock spans all machines, so age replaces it, as in git: a file that a machine is about to list in
a record was sent recently.
"""

import posixpath
import time
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

import msgspec

from cis490_pipeline.errors import DatasetError
from cis490_pipeline.experiment.stages.record import Record
from cis490_pipeline.experiment.stages.shared import SharedData
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.upkeep.gc import HALF_WRITTEN, Collected, Garbage, collect_garbage
from cis490_pipeline.features.grids.store import MANIFEST_FILE
from cis490_pipeline.storage.json_text import decode_json
from cis490_pipeline.storage.remote_copy import FOLDERS, RECORDS, object_name, split_object_name
from cis490_pipeline.storage.remote_folder import Entry

OLDER_THAN_DAYS: Final = 7.0
"""Age limit, longer than any run takes from its first file sent to its record."""

_DAY_S: Final = 86_400.0
_MAX_MANIFEST: Final = 64 << 20


class _Manifest(msgspec.Struct):
    """Grid shards in a manifest."""

    shards: dict[str, str] = {}
    grids_folder: str = "."


def collect_copy_and_address(
    workspace: Workspace, shared: SharedData, *, older_than_days: float, dry_run: bool = False
) -> Collected:
    """Clean this machine's copy, if there is one, and the shared folder.

    Parameters and errors are those of `collect_garbage` and `collect_shared_garbage`.
    """
    has_copy = (shared.root / RECORDS).is_dir()
    here = collect_garbage(workspace, dry_run=dry_run) if has_copy else Collected([])
    there = collect_shared_garbage(shared, older_than_days=older_than_days, dry_run=dry_run)
    return here.with_those_at(str(shared.address), there)


def collect_shared_garbage(
    shared: SharedData, *, older_than_days: float = OLDER_THAN_DAYS, dry_run: bool = False
) -> Collected:
    """Remove files that no record there, and no manifest that one lists, refers to.

    Parameters
    ----------
    shared : folder to clean; the local copy is not touched.
    older_than_days : newer files are kept.
    dry_run : whether only to list what would be removed.

    Returns
    -------
    What was or would be removed, sorted by name; spared are files too young or of unknown age.

    Raises
    ------
    DatasetError
        If a record or manifest cannot be read: its files are then unknown, and nothing is removed.
    OSError
        If the folder cannot be listed or read, or a file not removed; earlier ones are removed.
    """
    # Listed before reading records, so that files sent later are not on the list.
    listed = {name: entry for place in FOLDERS for name, entry in shared.folder.find(place).items()}
    named = _named(shared, listed)
    before_s = time.time() - older_than_days * _DAY_S
    garbage: list[Garbage] = []
    spared: dict[str, str] = {}
    for name, entry in sorted(listed.items()):
        why = _why(name, named)
        if why is None or not entry.is_plain:
            continue
        if entry.written_s is None:
            spared[name] = "its age is unknown"
        elif entry.written_s > before_s:
            spared[name] = f"younger than {older_than_days:g} days"
        elif dry_run or _removed(shared, name, entry):
            garbage.append(Garbage(name, entry.size, why))
        else:
            spared[name] = "was rewritten meanwhile"
    return Collected(garbage, spared)


def _why(name: str, named: set[str]) -> str | None:
    """Return why a file may be removed; None if it is listed or not of this project."""
    if HALF_WRITTEN.fullmatch(PurePosixPath(name).name):
        return "left by a process that was killed"
    if name in named or split_object_name(name) is None:
        return None
    return "an object that no record or manifest lists"


def _removed(shared: SharedData, name: str, listed: Entry) -> bool:
    """Remove a file unless it changed since it was listed, for example was sent again."""
    now = shared.folder.entry(name)
    if now is not None and now.stamp == listed.stamp and now.written_s == listed.written_s:
        shared.folder.remove(name)
        return True
    return False


def _named(shared: SharedData, listed: Iterable[str]) -> set[str]:
    named: set[str] = set()
    recorded: set[str] = set()
    read: set[str] = set()
    for record in shared.records_there().values():
        for file, sha256 in record.sha256.items():
            named.add(object_name(file, sha256))
            if PurePosixPath(file).name == MANIFEST_FILE:
                recorded.add(str(PurePosixPath(file).parent))
                folder, shards = _of_manifest(shared, record, file)
                named |= shards
                read.add(folder)
    # Grids of an earlier schema are in no record, yet a dataset not made again is read from them.
    earlier = tuple(f"{folder}/" for folder in read - recorded)
    return named | {name for name in listed if name.startswith(earlier)}


def _of_manifest(shared: SharedData, record: Record, file: str) -> tuple[str, set[str]]:
    """Return the grids' folder of a manifest and the shards it names, which may be older ones."""
    stored = object_name(file, record.sha256[file])
    where = f"{shared.address}/{stored}"
    entry = shared.folder.entry(stored)
    if entry is None:
        return str(PurePosixPath(file).parent), set()
    if entry.size > _MAX_MANIFEST:
        raise DatasetError(f"{where}: has {entry.size} bytes, at most {_MAX_MANIFEST} are read")
    try:
        manifest = decode_json(shared.folder.read(stored, entry), _Manifest)
    except msgspec.DecodeError as wrong:
        raise DatasetError(
            f"{where}: not a readable manifest ({wrong}), so its files are unknown and nothing "
            "was removed. "
            f"Remove the record of {record.key} there, and make it again"
        ) from wrong
    folder = posixpath.normpath(f"{PurePosixPath(file).parent}/{manifest.grids_folder}")
    return folder, {object_name(f"{folder}/{n}", sha) for n, sha in manifest.shards.items()}

"""Garbage collection: remove vanished episodes, and files that no record or manifest lists.

Considers only files with names of this project: grid shards, dataset files, partial files and
snapshots of finished trainings. Everything else in the data folder belongs to its users.
"""

import contextlib
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from os.path import normpath
from pathlib import Path
from typing import Final, Self

import msgspec
from filelock import Timeout

from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.experiment.pipeline.corpus import (
    GridShards,
    ValidationSweep,
    VanishedForgotten,
)
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.experiment.stages.record import Record
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.grids.store import INDEX_FILE, MANIFEST_FILE
from cis490_pipeline.features.schema import grid_schema
from cis490_pipeline.storage.files import read_object
from cis490_pipeline.storage.json_text import decode_json
from cis490_pipeline.storage.parquet import read_table
from cis490_pipeline.storage.remote_copy import FOLDERS
from cis490_pipeline.storage.scope_lock import lock_of
from cis490_pipeline.store.verdicts.vanished import episode_names, vanished_rows

HALF_WRITTEN: Final = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")
"""Temporary name of a file until it is complete."""
_SNAPSHOT: Final = re.compile(r"\.(.+)\.training\.safetensors")
_OPEN_FILES: Final = Path("/proc")


@dataclass(frozen=True)
class Garbage:
    """One file to remove."""

    path: str
    """Relative to the data folder."""
    n_bytes: int
    why: str


@dataclass(frozen=True)
class Collected:
    """Files to remove, and files kept because they are in use."""

    garbage: list[Garbage]
    spared: dict[str, str] = field(default_factory=dict)
    """Files kept because they are in use: path -> user."""
    forgotten: list[str] = field(default_factory=list)
    """Vanished episodes, as ``host/id``, whose verdicts and grids go."""

    @property
    def n_bytes(self) -> int:
        """Bytes of all files to remove."""
        return sum(item.n_bytes for item in self.garbage)

    def with_those_at(self, address: str, there: Self) -> Self:
        """Merge the result at an address, with full addresses as paths."""
        named = [replace(item, path=f"{address}/{item.path}") for item in there.garbage]
        spared = {f"{address}/{path}": user for path, user in there.spared.items()}
        return replace(self, garbage=[*self.garbage, *named], spared=self.spared | spared)


def collect_garbage(workspace: Workspace, *, dry_run: bool = False) -> Collected:
    """Remove files that no artefact refers to, and verdicts and grids of vanished episodes.

    Parameters
    ----------
    workspace : its data folder is cleaned; for shared data, the local copy.
    dry_run : whether only to list what would be removed.

    Returns
    -------
    What was or would be removed, sorted by path.

    Raises
    ------
    DatasetError
        If a record cannot be read: its files are then unknown, and nothing is removed.

    Notes
    -----
    Holds all locks of the data folder. A scope whose lock another process holds keeps its files,
    and then all grids are kept, since any scope may read them. So are vanished episodes; once they
    are forgotten, what was made from them is stale.
    """
    root = workspace.paths.root
    with ExitStack() as held:
        busy = _take_locks(root, held)
        forgotten = _vanished(workspace)
        garbage, spared = [], {}
        if forgotten and busy:
            verdicts = workspace.paths.validation.relative_to(root).as_posix()
            spared[verdicts] = f"the lock of {busy[0]} is held: vanished episodes stay in it"
            forgotten = []
        if forgotten and not dry_run:
            _forget_vanished(workspace)
        named = _named(root)
        opened = _opened_below(root)
        for path, why in sorted(_candidates(root, named)):
            name = path.relative_to(root).as_posix()
            user = _user(name, busy)
            if user is not None:
                spared[name] = user
            elif path.resolve() in opened:
                spared[name] = "a running process has it open"
            else:
                garbage.append(Garbage(name, path.lstat().st_size, why))
        if not dry_run:
            for item in garbage:
                (root / item.path).unlink(missing_ok=True)
            _remove_empty(root / "processed" / "grids")
    return Collected(garbage, spared, forgotten)


def _vanished(workspace: Workspace) -> list[str]:
    stage = ValidationSweep(workspace)
    if stage.record() is None or stage.altered():
        # The next sweep makes them again, of what is there.
        return []
    return episode_names(vanished_rows(read_table(workspace.paths.validation)))


def _forget_vanished(workspace: Workspace) -> None:
    """Make verdicts and grids without those of vanished episodes; older shards become garbage."""
    make_stages((VanishedForgotten(workspace),), force=True)
    grids = GridShards(workspace)
    if grids.record() is not None:
        make_stages((grids,))


def _take_locks(root: Path, held: ExitStack) -> list[str]:
    """Take every free lock, and return the scopes of the others."""
    records = root / "processed" / "records"
    if not records.is_dir():
        raise DatasetError(f"{root}: holds no records, so it is no data folder; set --data")
    scopes = {path.stem for path in records.glob("*.lock")}
    scopes |= {"corpus", *map(str, Recipe)}
    busy = []
    for scope in sorted(scopes):
        lock = lock_of(records / scope)
        try:
            held.enter_context(lock.acquire(timeout=0))
        except Timeout:
            busy.append(scope)
    return busy


def _user(name: str, busy: list[str]) -> str | None:
    """Return the busy scope that may be using a file, or None."""
    place = name.split("/")[1]
    for scope in busy:
        # Scope host_study is made from the files of scope host, under its own lock.
        if place not in map(str, Recipe) or scope.split("_")[0] in (place, "corpus"):
            return f"the lock of {scope} is held"
    return None


def _named(root: Path) -> set[Path]:
    """Return all files listed by a record, or by a manifest that a record lists."""
    named: set[Path] = set()
    for path in sorted((root / "processed" / "records").glob("*/*")):
        if path.suffix in (".json", ".unsent"):
            try:
                record = decode_json(path.read_bytes(), Record)
            except msgspec.DecodeError as wrong:
                raise DatasetError(
                    f"{path}: not a readable record ({wrong}), so its files are unknown and "
                    "nothing was removed. Remove it if its artefact may be made again"
                ) from wrong
            named |= {root / name for name in record.files}
    current = root / "processed" / "grids" / grid_schema().hash[:16]
    manifests = {path for path in named if path.name == MANIFEST_FILE} | {current / MANIFEST_FILE}
    for manifest in sorted(manifests):
        if manifest.is_file():
            named |= _of_manifest(manifest)
    return named


def _of_manifest(path: Path) -> set[Path]:
    content = read_object(path)
    folder = path.parent
    named = {path, *(folder / name for name in content.get("files", ()))}
    if "grids_folder" in content:
        # A dataset reads the shards that its grids' own manifest names, whichever these are by now.
        grids = Path(normpath(folder / content["grids_folder"])) / MANIFEST_FILE
        named |= {grids, grids.with_name(INDEX_FILE)}
        named |= _of_manifest(grids) if grids.is_file() else set()
    else:
        named |= {folder / name for name in (*content.get("shards", ()), INDEX_FILE)}
    return {Path(normpath(file)) for file in named}


def _candidates(root: Path, named: set[Path]) -> Iterator[tuple[Path, str]]:
    inside = root.resolve()
    for path, why in _nameable(root):
        is_own = path.is_file() and not path.is_symlink() and path.resolve().is_relative_to(inside)
        if is_own and path not in named:
            yield path, why


def _nameable(root: Path) -> Iterator[tuple[Path, str]]:
    processed = root / "processed"
    for pattern in ("shard-*.npy", INDEX_FILE, MANIFEST_FILE):
        for path in processed.glob(f"grids/*/{pattern}"):
            yield path, "grids that no record or manifest lists"
    for path in processed.glob("*/*_window_v1/*"):
        if not HALF_WRITTEN.fullmatch(path.name):
            yield path, "a dataset file that no record or manifest lists"
    for place in FOLDERS:
        for path in (root / place).rglob(".*.tmp"):
            if HALF_WRITTEN.fullmatch(path.name):
                yield path, "left by a process that was killed"
    for path in (root / "artifacts").rglob(".*.training.safetensors"):
        if _has_ended(path):
            yield path, "snapshot of a training that has ended"


def _has_ended(snapshot: Path) -> bool:
    """Whether the training of a snapshot has written its checkpoint since."""
    match = _SNAPSHOT.fullmatch(snapshot.name)
    if match is None:
        return False
    checkpoint = snapshot.with_name(match[1]) / "checkpoint.json"
    return checkpoint.is_file() and checkpoint.stat().st_mtime_ns >= snapshot.stat().st_mtime_ns


def _opened_below(root: Path) -> set[Path]:
    """Return files below a folder that a process has open or mapped, as far as /proc shows."""
    inside = str(root.resolve())
    opened: set[Path] = set()
    for process in _OPEN_FILES.glob("[0-9]*"):
        # Processes end meanwhile, and those of other users cannot be read.
        with contextlib.suppress(OSError):
            for link in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    opened.add(link.readlink())
        with contextlib.suppress(OSError):
            maps = (process / "maps").read_text(errors="surrogateescape")
            opened |= {Path(line[line.index("/") :]) for line in maps.splitlines() if "/" in line}
    return {path for path in opened if str(path).startswith(f"{inside}/")}


def _remove_empty(folder: Path) -> None:
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()

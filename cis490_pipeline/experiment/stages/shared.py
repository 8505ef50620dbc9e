"""A data folder that several machines share: records elsewhere are the truth, files follow them.

Each machine works on a local copy. A stage's record is taken before anything is decided on it;
files it names are fetched on demand. What a stage made is sent first, its record
last, and only if no other machine has replaced that record meanwhile.
"""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import msgspec

from cis490_pipeline.domain import Address
from cis490_pipeline.errors import ChangedMeanwhileError, DatasetError
from cis490_pipeline.experiment.stages.record import Record, encoded, read_record, sound_files
from cis490_pipeline.storage.files import atomic_write, file_sha256
from cis490_pipeline.storage.json_text import decode_json
from cis490_pipeline.storage.remote_copy import (
    RECORDS,
    RemoteCopy,
    is_safe_name,
    is_sha256,
    object_name,
)
from cis490_pipeline.storage.remote_folder import Entry
from cis490_pipeline.storage.scope_lock import lock_of

_MAX_RECORD: Final = 64 << 20

MADE_BESIDE: Final = ("study",)
"""Stages of a recipe that have a scope of their own."""


class SharedData:
    """One machine's view of shared data, as of the first read of each record."""

    def __init__(self, address: Address, cache: Path) -> None:
        self._copy = RemoteCopy.below(address, cache)
        self.root: Final = self._copy.root
        """The local copy."""
        self.folder: Final = self._copy.folder
        """The shared folder itself, at ``address``."""
        self.address: Final = self.folder.address
        self._looked_at: dict[str, str | None] = {}
        self._being_made: set[str] = set()
        self._seen_only = False

    def as_seen(self) -> "SharedData":
        """Return the same view for a process that makes something for this one.

        It looks at no record that was not looked at here: to replace a local copy, it would wait
        for the scope's lock, and who holds the lock waits for it.
        """
        other = copy.copy(self)
        other._seen_only = True
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_listed"}

    @cached_property
    def _listed(self) -> dict[str, Entry]:
        return {} if self._seen_only else self.folder.find(RECORDS)

    def refresh_record(
        self, path: Path, key: str | None = None, *, again: bool = False
    ) -> str | None:
        """Bring the local copy of a record up to date.

        Parameters
        ----------
        path : of the local copy.
        key : that the record must have; None asks none.
        again : whether to look again at one that was looked at.

        Returns
        -------
        Stamp of the record there; None if there is none. What `publish` wants.

        Raises
        ------
        DatasetError
            If what lies there is no record of that stage, or names files it must not.
        OSError
            If it cannot be read.
        """
        name = self._name(path)
        if self._seen_only or (name in self._looked_at and not again):
            return self._looked_at.get(name)
        seen = path.with_suffix(".seen")
        entry = None if again else self._listed.get(name)
        if entry is None or not path.exists() or _text(seen) != entry.stamp:
            # The listing may be old: another process of this machine sent a record since, say.
            entry = self.folder.entry(name)
        stamp = entry.stamp if entry is not None else None
        if entry is None:
            path.unlink(missing_ok=True)
        elif not path.exists() or _text(seen) != stamp:
            self._replace(path, key, entry)
            atomic_write(seen, lambda file: file.write(entry.stamp.encode()))
        self._looked_at[name] = stamp
        return stamp

    def fetch(self, path: Path) -> Path:
        """Fetch what records name at or below a path and is missing here; returns the path.

        Grid shards are left to who reads them: those of a lab are 30 GB.
        """
        name = path.relative_to(self.root).as_posix()
        for record_path in self._records_of(name):
            self.refresh_record(record_path)
            if self._name(record_path) in self._being_made:
                continue
            for file, size, sha256 in _files(record_path):
                if (file == name or file.startswith(f"{name}/")) and not _is_shard(file):
                    self._copy.fetch(file, size, sha256)
        return path

    @contextmanager
    def making(self, path: Path) -> Iterator[None]:
        """Bring every file of a record, to be worked on; none of it comes back by itself then."""
        for file, size, sha256 in _files(path):
            self._copy.fetch(file, size, sha256)
        self._being_made.add(self._name(path))
        try:
            yield
        finally:
            self._being_made.discard(self._name(path))

    def publish(self, path: Path, record: Record, stamp: str | None) -> Record:
        """Send what a stage made: its files, then its record.

        Parameters
        ----------
        path : of the record's local copy, which still is the one that was taken.
        record : the new one; its files lie in the local copy.
        stamp : of the one it replaces, as `refresh_record` returned it.

        Returns
        -------
        The record that is there now: another machine's, if that has made the very same.

        Raises
        ------
        DatasetError
            If another machine has made something else meanwhile.
        OSError
            If a file or the record cannot be sent; the old record is still there, with its files.
        """
        there = {(file, sha256) for file, _, sha256 in _files(path)}
        for file in sorted(record.files):
            sha256 = record.sha256[file]
            if (file, sha256) not in there:
                self.folder.put(object_name(file, sha256), self.root / file)
        name = self._name(path)
        try:
            self.folder.put_if_unchanged(name, encoded(record), stamp)
        except ChangedMeanwhileError as lost:
            now = self.folder.entry(name)
            theirs = self._read(name, record.key, now) if now is not None else None
            if theirs is None or (theirs.inputs, theirs.sha256) != (record.inputs, record.sha256):
                raise DatasetError(
                    f"{self.address}/{name}: another machine made {record.key} meanwhile; what "
                    "was made here is not kept. Run again to go on from what is there now"
                ) from lost
            return theirs
        return record

    def records_there(self) -> dict[str, Record]:
        """Read every record that is there now, by name.

        Raises
        ------
        DatasetError
            If one is no record.
        OSError
            If it cannot be read.
        """
        listed = self.folder.find(RECORDS)
        return {
            name: self._read(name, None, entry) for name, entry in listed.items() if is_record(name)
        }

    def _replace(self, path: Path, key: str | None, entry: Entry) -> None:
        """Write the local copy of a record, and drop the files that are not what it names."""
        name = self._name(path)
        record = self._read(name, key, entry)
        with lock_of(path.parent):
            if path.exists() and path.read_bytes() == encoded(record):
                return
            before = read_record(path)
            sound = sound_files(self.root, before, path) if before else set()
            for file, sha256 in record.sha256.items():
                local = self.root / file
                kept = before is not None and file in sound and before.sha256.get(file) == sha256
                if not kept and local.exists() and file_sha256(local) != sha256:
                    local.unlink()
            atomic_write(path, lambda stream: stream.write(encoded(record)))

    def _read(self, name: str, key: str | None, entry: Entry) -> Record:
        where = f"{self.address}/{name}"
        if entry.size > _MAX_RECORD:
            raise DatasetError(f"{where}: has {entry.size} bytes, at most {_MAX_RECORD} are read")
        try:
            record = decode_json(self.folder.read(name, entry), Record)
        except msgspec.DecodeError as wrong:
            raise DatasetError(f"{where}: no record: {wrong}; remove it, and run again") from wrong
        unsafe = [
            file
            for file, size in record.files.items()
            if not is_safe_name(file) or size < 0 or not is_sha256(record.sha256.get(file, ""))
        ]
        if unsafe or record.files.keys() != record.sha256.keys():
            first = f"{next(iter(unsafe), 'a digest without a file')!r:.200}"
            raise DatasetError(
                f"{where}: names {first}, which is no file of a data folder with its digest; "
                "another program wrote it. Remove it, and run again"
            )
        if key is not None and record.key != key:
            raise DatasetError(f"{where}: is a record of {record.key!r:.200}, wanted {key!r}")
        return record

    def _records_of(self, name: str) -> list[Path]:
        """Local paths of the records that may name a file."""
        # processed/<recipe>/…, artifacts/<recipe>/… and reports/<recipe>/… are one recipe's.
        recipe = name.split("/")[1:2]
        made_beside = (f"{scope}_{what}" for scope in recipe for what in MADE_BESIDE)
        scopes = {"corpus", *recipe, *made_beside}
        known = {*self._listed, *self._looked_at}
        return [
            self.root / record
            for record in sorted(known)
            if record.endswith(".json") and is_record(record) and record.split("/")[2] in scopes
        ]

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def is_record(name: str) -> bool:
    """Whether a name is ``processed/records/SCOPE/KEY.json`` and of nothing but plain letters."""
    return re.fullmatch(rf"{RECORDS}/[a-z0-9_]+/[A-Za-z0-9_-]+\.json", name) is not None


def _files(path: Path) -> list[tuple[str, int, str]]:
    """Name, size and digest of each file that the local copy of a record names."""
    record = read_record(path)
    if record is None:
        return []
    return [(file, size, record.sha256[file]) for file, size in record.files.items()]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _is_shard(file: str) -> bool:
    return file.startswith("processed/grids/") and file.endswith(".npy")

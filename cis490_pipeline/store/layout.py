"""Where things lie in a receiver's store, which is only read."""

import hashlib
import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from cis490_pipeline.domain import HOST_ID_FORM, EpisodeRef, is_episode_id, is_host_id
from cis490_pipeline.errors import StoreError
from cis490_pipeline.store.files import file_sha256, printable
from cis490_pipeline.store.reasons import Finding

INDEX_FILE: Final = "index.jsonl"
ARCHIVE_SUFFIX: Final = ".tar.zst"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class IndexRow:
    """What the receiver's index says of one episode."""

    ref: EpisodeRef
    received_at_wall: str
    """ISO 8601 UTC time of the *first* shipment, so that shipping again moves no split; with
    microseconds and ``Z``, so that text sorts as time."""
    sha256: str | None
    """Of the archive last shipped; ``None`` for an unpacked folder."""
    bytes: int | None
    schema_version: int
    commit: str | None = None


@dataclass(frozen=True, kw_only=True)
class StoreIndex:
    """The index as read: the last row of each episode, and why other lines were skipped."""

    rows: dict[EpisodeRef, IndexRow] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


class _ShipmentRow(msgspec.Struct):
    """One line of ``index.jsonl``; unknown keys are ignored."""

    received_at_wall: str
    host_id: str
    episode_id: str
    sha256: str | None
    bytes: int | None
    schema_version: int
    commit: str | None = None


@dataclass(frozen=True)
class Reading:
    """An episode's files, at hand on this machine for as long as they are being read."""

    path: Path | None
    """Of the archive or of the unpacked folder; None if there is neither, or it may not be read."""
    findings: tuple[Finding, ...] = ()
    """What was wrong before anything was read."""


class ReceiverStore(ABC):
    """A receiver's store, wherever it lies; nothing here writes to it. It pickles."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is known by: its resolved path, or its address."""

    @abstractmethod
    def index_lines(self) -> AbstractContextManager[Iterable[bytes]]:
        """Open ``index.jsonl`` and give its lines one after another; none if there is no index.

        Raises
        ------
        StoreError
            If there is no such store.
        """

    @abstractmethod
    def on_disk(self) -> Iterator[EpisodeRef]:
        """Yield episodes that have an archive or a folder, an episode with both once; unsorted."""

    @abstractmethod
    def has(self, ref: EpisodeRef) -> bool:
        """Whether an episode has an archive or an unpacked folder."""

    @abstractmethod
    def stamps(self, ref: EpisodeRef) -> list[list[str | int]] | None:
        """Name, type, size and time of change of an archive or of each member of a folder."""

    @abstractmethod
    def listing_digest(self) -> str:
        """Digest of names, sizes and changes of all files: what changed without reading them."""

    @abstractmethod
    def reading(self, ref: EpisodeRef) -> AbstractContextManager[Reading]:
        """Give an episode's files as local ones, its archive before its unpacked folder.

        Raises
        ------
        OSError
            If they cannot be had; that says nothing about the episode.
        """

    def only(self, refs: Iterable[EpisodeRef]) -> "ReceiverStore":
        """Return a store that knows these episodes at least, to send to another process."""
        return self

    def read_index(self) -> StoreIndex:
        """Read ``index.jsonl``; a line that is no index row is skipped with its reason.

        Returns
        -------
        StoreIndex
            Of an episode shipped twice the last row counts, with the first row's time. A store
            without an index (a lab host's own folder) has no rows.

        Raises
        ------
        StoreError
            If there is no such store.
        """
        index = StoreIndex()
        with self.index_lines() as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    row = _parse_index_row(line)
                except (ValueError, RecursionError) as wrong:
                    index.skipped.append(f"{INDEX_FILE} line {number}: {wrong!s:.200}")
                    continue
                earlier = index.rows.get(row.ref)
                if earlier is not None:
                    first = min(earlier.received_at_wall, row.received_at_wall)
                    row = replace(row, received_at_wall=first)
                index.rows[row.ref] = row
        return index

    def episodes(self, index: StoreIndex | None = None) -> list[EpisodeRef]:
        """Return all episodes, indexed or on disk, sorted by host and id."""
        rows = (index or self.read_index()).rows
        return sorted({*rows, *self.on_disk()})


class EpisodeStore(ReceiverStore):
    """A receiver's store on a file system of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def name(self) -> str:
        """Resolved path."""
        return str(self.root.resolve())

    @property
    def index_path(self) -> Path:
        """Path of the append-only index."""
        return self.root / INDEX_FILE

    @contextmanager
    def index_lines(self) -> Iterator[Iterable[bytes]]:
        """Open the index."""
        if not self.root.is_dir():
            raise StoreError(
                f"{self.root}: no such store; set CIS490_STORE or --store to a folder with "
                f"{INDEX_FILE} and episodes/"
            )
        if not self.index_path.is_file():
            yield ()
            return
        with self.index_path.open("rb") as lines:
            yield lines

    def archive_path(self, ref: EpisodeRef) -> Path:
        """Return the path an episode's archive has, whether it exists or not."""
        return self.root / "episodes" / ref.host_id / f"{ref.episode_id}{ARCHIVE_SUFFIX}"

    def path(self, ref: EpisodeRef) -> Path | None:
        """Return the path of an episode's archive, else of its unpacked folder, else ``None``."""
        archive = self.archive_path(ref)
        if archive.is_file():
            return archive
        folder = archive.with_name(ref.episode_id)
        return folder if folder.is_dir() else None

    def has(self, ref: EpisodeRef) -> bool:
        """Whether the archive or the folder exists."""
        return self.path(ref) is not None

    @contextmanager
    def reading(self, ref: EpisodeRef) -> Iterator[Reading]:
        """Give the files where they lie."""
        yield Reading(self.path(ref))

    def on_disk(self) -> Iterator[EpisodeRef]:
        """Yield what the folder of each host holds."""
        episodes = self.root / "episodes"
        if not episodes.is_dir():
            return
        seen: set[EpisodeRef] = set()
        for host in episodes.iterdir():
            if not host.is_dir():
                continue
            for entry in _entries(host):
                ref = ref_of(host.name, entry.name)
                if ref is not None and ref not in seen:
                    seen.add(ref)
                    yield ref

    def stamps(self, ref: EpisodeRef) -> list[list[str | int]] | None:
        """Look at the archive, or at each member of the folder."""
        try:
            path = self.path(ref)
            if path is None:
                return None
            members = sorted(path.iterdir()) if path.is_dir() else [path]
            stats = [(member, member.lstat()) for member in members]
        except OSError as failure:
            # Not to be judged here: reading it will say what is wrong, and errored is not reused.
            return [[type(failure).__name__]]
        return [
            [printable(member.name), stat.S_IFMT(seen.st_mode), seen.st_size, seen.st_mtime_ns]
            for member, seen in stats
        ]

    def listing_digest(self) -> str:
        """Look at every file, and read the index."""
        total = hashlib.sha256()
        for name, size, changed_ns in _files(self.root, "episodes"):
            total.update(f"{name}\0{size}\0{changed_ns}\n".encode())
        total.update(file_sha256(self.index_path).encode() if self.index_path.exists() else b"")
        return total.hexdigest()


def ref_of(host: str, entry: str) -> EpisodeRef | None:
    """Return the episode that a name in a host's folder is of, or None if it is of none."""
    episode_id = entry.removesuffix(ARCHIVE_SUFFIX)
    if not is_host_id(host) or not is_episode_id(episode_id):
        return None
    return EpisodeRef(host, episode_id)


def _entries(folder: Path) -> list[Path]:
    """Return what lies in a folder; of one that may not be read only indexed episodes are known."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _files(root: Path, folder: str) -> Iterator[tuple[str, int, int]]:
    """Yield path, size and time of change of every regular file, one folder after another."""
    found: list[tuple[str, int, int]] = []
    folders: list[str] = []
    try:
        with os.scandir(root / folder) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}"
                try:
                    seen = entry.stat()
                except OSError:
                    # A receiver renames what has arrived: it is listed under its name next time.
                    continue
                if stat.S_ISREG(seen.st_mode):
                    found.append((printable(name), seen.st_size, seen.st_mtime_ns))
                elif entry.is_dir(follow_symlinks=folder == "episodes"):
                    folders.append(name)
    except OSError:
        # It is gone, or may not be read; what lies there is found missing by the sweep itself.
        return
    yield from sorted(found)
    for name in sorted(folders):
        yield from _files(root, name)


def _parse_index_row(line: bytes) -> IndexRow:
    row = msgspec.json.decode(line, type=_ShipmentRow)
    if not is_host_id(row.host_id):
        raise ValueError(f"host_id {row.host_id!r} is not {HOST_ID_FORM}")
    if not is_episode_id(row.episode_id):
        raise ValueError(f"episode_id {row.episode_id!r} is not a ULID")
    if row.sha256 is not None and not _SHA256.fullmatch(row.sha256):
        raise ValueError(f"sha256 {row.sha256!r} is not 64 lower-case hex digits")
    if row.bytes is not None and row.bytes < 0:
        raise ValueError(f"bytes is {row.bytes}, below 0")
    received = datetime.fromisoformat(row.received_at_wall)
    if received.utcoffset() != timedelta(0):
        raise ValueError(f"received_at_wall {row.received_at_wall!r} is not in UTC")
    return IndexRow(
        ref=EpisodeRef(row.host_id, row.episode_id),
        # Always with microseconds: sorted as text, "…:00.5Z" would come before "…:00Z".
        received_at_wall=received.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        sha256=row.sha256,
        bytes=row.bytes,
        schema_version=row.schema_version,
        commit=row.commit,
    )

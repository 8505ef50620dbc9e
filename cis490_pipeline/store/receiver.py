"""Receiver store: interface, and its implementation on a local file system. Read-only."""

import hashlib
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cis490_pipeline.domain import HOST_ID_FORM, EpisodeRef, is_episode_id, is_host_id
from cis490_pipeline.errors import StoreError
from cis490_pipeline.storage.files import file_sha256, open_regular, printable
from cis490_pipeline.store.reasons import Finding
from cis490_pipeline.store.receiver_index import (
    INDEX_FILE,
    MAX_INDEX_BYTES,
    LeftOut,
    StoreIndex,
    bounded_lines,
    parse_index,
)

ARCHIVE_SUFFIX: Final = ".tar.zst"
_FOLDER: Final = "episodes"


@dataclass(frozen=True)
class Reading:
    """An episode's files, available locally while they are being read."""

    path: Path | None
    """Path of the archive or unpacked folder; None if neither exists or may be read."""
    findings: tuple[Finding, ...] = ()
    """Faults found before reading."""


class ReceiverStore(ABC):
    """Read-only interface of a receiver store, local or remote. Picklable."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the store: its resolved path, or its address."""

    @abstractmethod
    def index_lines(self) -> AbstractContextManager[Iterable[bytes]]:
        """Open ``index.jsonl`` and return its lines; none if there is no index.

        Raises `StoreError` if the store does not exist.
        """

    @abstractmethod
    def listed(self) -> Iterator[EpisodeRef]:
        """Yield episodes that have an archive or a folder, each once, unsorted."""

    @abstractmethod
    def has(self, ref: EpisodeRef) -> bool:
        """Whether an episode has an archive or an unpacked folder."""

    @abstractmethod
    def stamps(self, ref: EpisodeRef) -> list[list[str | int]] | None:
        """Name, type, size and modification time of the archive or of each member of the folder."""

    @abstractmethod
    def listing_digest(self) -> str:
        """Digest of names, sizes and modification times, to detect changes without reading."""

    @abstractmethod
    def reading(self, ref: EpisodeRef) -> AbstractContextManager[Reading]:
        """Make an episode's files available locally, preferring the archive over the folder.

        An `OSError`, if they are unavailable, implies nothing about the episode.
        """

    def only(self, refs: Iterable[EpisodeRef]) -> "ReceiverStore":
        """Return a store with at least these episodes, to send to another process."""
        return self

    def read_index(self) -> StoreIndex:
        """Read ``index.jsonl``; a store without one (a lab host's own folder) has no rows.

        Raises `StoreError` if the store does not exist, or the index is no regular file up to 1
        GiB.
        """
        with self.index_lines() as lines:
            return parse_index(lines)

    @abstractmethod
    def left_out(self) -> LeftOut:
        """List entries under ``episodes/`` that are neither a host's folder nor an episode.

        Files whose names begin with a dot are still being received and are not listed.
        """

    @abstractmethod
    def is_bare(self) -> bool:
        """Whether ``episodes/`` is empty, as when it is not mounted."""

    @abstractmethod
    def whereabouts(self) -> str:
        """Suggest a remedy for a store without episodes."""

    def require_episodes(self, index: StoreIndex | None = None) -> list[EpisodeRef]:
        """Return all episodes, indexed or on disk, sorted by host and id.

        Raises `StoreError` if there is none, or the index lists some but no file exists: the store
        is then wrong or not mounted, and existing verdicts must not be lost.
        """
        index = index or self.read_index()
        refs = self.episodes(index)
        if refs and not (index.rows and self.is_bare()):
            return refs
        if index.rows:
            problem = f"{INDEX_FILE} names {len(index.rows)} episodes, but episodes/ is empty"
        else:
            left_out = [*index.skipped.first, *self.left_out().first]
            problem = "no episode is there" + (f" ({'; '.join(left_out[:3])})" if left_out else "")
        raise StoreError(f"{self.name}: {problem}; {self.whereabouts()}")

    def episodes(self, index: StoreIndex | None = None) -> list[EpisodeRef]:
        """Return all episodes, indexed or on disk, sorted by host and id."""
        rows = (index or self.read_index()).rows
        return sorted({*rows, *self.listed()})


class LocalStore(ReceiverStore):
    """Receiver store on a local file system."""

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
        if not self.index_path.exists():
            yield ()
            return
        try:
            stream = open_regular(self.index_path)
        except OSError as fault:
            raise StoreError(f"{self.index_path}: cannot be read: {fault.strerror}") from fault
        with stream:
            require_index_size(str(self.index_path), os.fstat(stream.fileno()).st_size)
            yield bounded_lines(stream)

    def archive_path(self, ref: EpisodeRef) -> Path:
        """Return the path an episode's archive has, whether it exists or not."""
        return self._episodes / ref.host_id / f"{ref.episode_id}{ARCHIVE_SUFFIX}"

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
        """Return the files in place."""
        yield Reading(self.path(ref))

    def listed(self) -> Iterator[EpisodeRef]:
        """Yield the episodes in each host's folder."""
        seen: set[EpisodeRef] = set()
        for host in _entries(self._episodes):
            # A file with a host's name yields no entries.
            for entry in _entries(host) if is_host_id(host.name) else ():
                ref = ref_of(host.name, entry.name)
                if ref is not None and ref not in seen:
                    seen.add(ref)
                    yield ref

    def left_out(self) -> LeftOut:
        """List other entries beside hosts and beside episodes."""
        names = []
        for host in _entries(self._episodes):
            if not is_host_id(host.name) or not host.is_dir():
                names.append(host.name)
                continue
            others = (e.name for e in _entries(host) if ref_of(host.name, e.name) is None)
            names += [f"{host.name}/{name}" for name in others]
        left_out = LeftOut()
        for name in sorted(names):
            text = describe_left_out(name, is_folder=(self._episodes / name).is_dir())
            if text is not None:
                left_out.add(text)
        return left_out

    def is_bare(self) -> bool:
        """Whether the folder is missing or empty; False if it may not be read."""
        try:
            return next(self._episodes.iterdir(), None) is None
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False

    def whereabouts(self) -> str:
        """Suggest a store one or two folders up, or one down."""
        for folder in [*self.root.resolve().parents[:2], *sorted(_entries(self.root))[:100]]:
            if (folder / INDEX_FILE).is_file() or (folder / _FOLDER).is_dir():
                return f"did you mean the store in {folder}? Set --store or CIS490_STORE to it"
        return (
            "is it mounted? Set --store or CIS490_STORE to a folder with "
            f"{INDEX_FILE} and {_FOLDER}/HOST/ULID{ARCHIVE_SUFFIX}"
        )

    @property
    def _episodes(self) -> Path:
        return self.root / _FOLDER

    def stamps(self, ref: EpisodeRef) -> list[list[str | int]] | None:
        """Stat the archive, or each member of the folder."""
        try:
            path = self.path(ref)
            if path is None:
                return None
            members = sorted(path.iterdir()) if path.is_dir() else [path]
            stats = [(member, member.lstat()) for member in members]
        except OSError as failure:
            # Reading it will report the fault, and an errored verdict is never reused.
            return [[type(failure).__name__]]
        return [
            [printable(member.name), stat.S_IFMT(seen.st_mode), seen.st_size, seen.st_mtime_ns]
            for member, seen in stats
        ]

    def listing_digest(self) -> str:
        """Digest the stat of every file and the content of the index."""
        total = hashlib.sha256()
        for name, size, changed_ns in _files(self.root, _FOLDER):
            total.update(f"{name}\0{size}\0{changed_ns}\n".encode())
        if self.index_path.exists():
            # Checks that it is a regular file of bounded size before hashing it.
            with self.index_lines():
                total.update(file_sha256(self.index_path).encode())
        return total.hexdigest()


def ref_of(host: str, entry: str) -> EpisodeRef | None:
    """Return the episode of an entry in a host's folder, or None if it is not one."""
    episode_id = entry.removesuffix(ARCHIVE_SUFFIX)
    if not is_host_id(host) or not is_episode_id(episode_id):
        return None
    return EpisodeRef(host, episode_id)


def describe_left_out(name: str, *, is_folder: bool) -> str | None:
    """Explain why an entry under ``episodes/`` is not an episode; None for temporary files.

    ``name`` is relative to ``episodes/``. A file with a leading dot is still being written.
    """
    host, slash, entry = name.partition("/")
    if not is_folder and (entry or host).startswith("."):
        return None
    where = printable(f"{_FOLDER}/{name[:200]}")
    if slash:
        return f"{where}: not named ULID{ARCHIVE_SUFFIX} or ULID, as episodes are"
    if is_host_id(host):
        return f"{where}: a file where hosts have folders"
    return f"{where}: no host is called so ({HOST_ID_FORM})"


def require_index_size(where: str, n_bytes: int) -> None:
    """Raise `StoreError` if an index has more than 1 GiB."""
    if n_bytes > MAX_INDEX_BYTES:
        raise StoreError(f"{where}: has {n_bytes} bytes, at most {MAX_INDEX_BYTES} are read")


def _entries(folder: Path) -> list[Path]:
    """Entries of a folder; none if it may not be read, so only indexed episodes are known."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _files(root: Path, folder: str) -> Iterator[tuple[str, int, int]]:
    """Yield path, size and modification time of every regular file, folder by folder."""
    files: list[tuple[str, int, int]] = []
    folders: list[str] = []
    try:
        with os.scandir(root / folder) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}"
                try:
                    seen = entry.stat()
                except OSError:
                    # The receiver renames finished files; the next listing has the new name.
                    continue
                if stat.S_ISREG(seen.st_mode):
                    files.append((printable(name), seen.st_size, seen.st_mtime_ns))
                elif entry.is_dir(follow_symlinks=folder == _FOLDER):
                    folders.append(name)
    except OSError:
        # Gone or unreadable; the sweep reports the missing episodes.
        return
    yield from sorted(files)
    for name in sorted(folders):
        yield from _files(root, name)

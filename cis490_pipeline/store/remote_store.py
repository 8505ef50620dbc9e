"""A receiver's store at an address: listed once, each episode fetched only to be read."""

import hashlib
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from cis490_pipeline.domain import Address, EpisodeRef
from cis490_pipeline.errors import StoreError
from cis490_pipeline.store.archive import PERF, READ_MEMBERS, Limits, archive_size_finding
from cis490_pipeline.store.files import printable
from cis490_pipeline.store.layout import (
    ARCHIVE_SUFFIX,
    INDEX_FILE,
    EpisodeStore,
    Reading,
    ReceiverStore,
    ref_of,
)
from cis490_pipeline.store.reasons import Finding, Reason
from cis490_pipeline.store.remote_folder import Entry, RemoteFolder

_FOLDER: Final = "episodes"
_MAX_LINE: Final = 1 << 16
_Files = dict[str, Entry]


def open_store(place: Path | Address) -> ReceiverStore:
    """Return the store at a place."""
    return RemoteStore(place) if isinstance(place, Address) else EpisodeStore(place)


class RemoteStore(ReceiverStore):
    """A store as it was when it was first listed; make another to see what changed since.

    One recursive listing gives every name, size and entity tag. An archive, or the members of a
    folder, are copied to a temporary folder that is gone when the episode was read. Names of
    objects are an outsider's: only what has an episode's name is looked at, and no name reaches the
    file system that could leave that folder.
    """

    def __init__(self, address: Address, limits: Limits | None = None) -> None:
        self.address = address
        self._folder = RemoteFolder(address)
        self._limits = limits or Limits()

    def __getstate__(self) -> dict[str, Any]:
        # The listing of a lab is 76,660 entries; who needs some of it is sent `only` those.
        return {name: value for name, value in vars(self).items() if name != "_files"}

    @property
    def name(self) -> str:
        """The address."""
        return str(self.address)

    @cached_property
    def _files(self) -> dict[EpisodeRef, _Files]:
        """Files of each episode, by name relative to its host's folder."""
        files: dict[EpisodeRef, _Files] = {}
        for name, entry in self._folder.find(_FOLDER).items():
            # episodes/HOST/ENTRY, and what lies in ENTRY if it is a folder.
            parts = name.split("/")
            ref = ref_of(parts[1], parts[2]) if len(parts) > 2 else None
            if ref is not None:
                files.setdefault(ref, {})["/".join(parts[2:])] = entry
        return files

    @cached_property
    def _index(self) -> Entry | None:
        return self._folder.entry(INDEX_FILE)

    def only(self, refs: Iterable[EpisodeRef]) -> ReceiverStore:
        """Return a store whose listing holds these episodes alone; it pickles with it."""
        return _Excerpt(self, {ref: self._files[ref] for ref in refs if ref in self._files})

    @contextmanager
    def index_lines(self) -> Iterator[Iterable[bytes]]:
        """Copy the index to a temporary file, and give its lines."""
        if self._index is None:
            if not self._files:
                raise StoreError(
                    f"{self.address}: no such store; set CIS490_STORE or --store to an address "
                    f"with {INDEX_FILE} and {_FOLDER}/ below it"
                )
            yield ()
            return
        with tempfile.TemporaryDirectory(prefix="cis490-") as scratch:
            copy = Path(scratch) / INDEX_FILE
            self._folder.fetch(INDEX_FILE, copy, entry=self._index)
            with copy.open("rb") as stream:
                # A piece of an endless line is no index row; it is skipped like any other.
                yield iter(lambda: stream.readline(_MAX_LINE), b"")

    def on_disk(self) -> Iterator[EpisodeRef]:
        """Yield what was listed."""
        yield from self._files

    def has(self, ref: EpisodeRef) -> bool:
        """Whether the archive or a member was listed."""
        return bool(self._archive(ref) or self._members(ref))

    def stamps(self, ref: EpisodeRef) -> list[list[str | int]] | None:
        """Return what was listed of the archive, or of each member."""
        archive = self._archive(ref)
        if archive is not None:
            return [_stamp(f"{ref.episode_id}{ARCHIVE_SUFFIX}", archive)]
        members = self._members(ref)
        return [_stamp(name, members[name]) for name in sorted(members)] or None

    def listing_digest(self) -> str:
        """Digest what was listed; the index by its entity tag."""
        total = hashlib.sha256()
        for ref in sorted(self._files):
            for name, entry in sorted(self._files[ref].items()):
                told = f"{ref.host_id}/{printable(name)}\0{entry.size}\0{entry.stamp}\n"
                total.update(told.encode())
        if self._index is not None:
            total.update(f"{INDEX_FILE}\0{self._index.size}\0{self._index.stamp}".encode())
        return total.hexdigest()

    @contextmanager
    def reading(self, ref: EpisodeRef) -> Iterator[Reading]:
        """Fetch an episode, no more of it than the format's limits allow."""
        archive, members = self._archive(ref), self._members(ref)
        with tempfile.TemporaryDirectory(prefix="cis490-") as scratch:
            if archive is not None:
                yield self._fetch_archive(ref, archive, Path(scratch))
            elif members:
                yield self._fetch_members(ref, members, Path(scratch))
            else:
                yield Reading(None)

    def _archive(self, ref: EpisodeRef) -> Entry | None:
        entry = self._files.get(ref, {}).get(f"{ref.episode_id}{ARCHIVE_SUFFIX}")
        return entry if entry is not None and entry.is_plain else None

    def _members(self, ref: EpisodeRef) -> _Files:
        prefix = f"{ref.episode_id}/"
        # Some tools leave an empty object with the folder's own name: it is no member.
        return {
            name.removeprefix(prefix): entry
            for name, entry in self._files.get(ref, {}).items()
            if name.startswith(prefix) and name != prefix
        }

    def _fetch_archive(self, ref: EpisodeRef, entry: Entry, scratch: Path) -> Reading:
        name = f"{ref.episode_id}{ARCHIVE_SUFFIX}"
        too_large = archive_size_finding(name, entry.size, self._limits)
        if too_large is not None:
            return Reading(None, (too_large,))
        self._folder.fetch(f"{_FOLDER}/{ref.host_id}/{name}", scratch / name, entry=entry)
        return Reading(scratch / name)

    def _fetch_members(self, ref: EpisodeRef, members: _Files, scratch: Path) -> Reading:
        """Rebuild an episode's folder, so that it is judged by the one code there is for that.

        A member whose bytes nobody will read, as it is unknown or over a limit, is a file of the
        same size with nothing in it; a name with folders in it is a folder.
        """
        folder = scratch / ref.episode_id
        folder.mkdir()
        findings = []
        total = 0
        firsts: dict[str, Entry | None] = {}
        for name, entry in sorted(members.items()):
            first, separator, _ = name.partition("/")
            firsts[first] = None if separator or first in firsts else entry
        # One more than are looked at, for the judge to see that there are more.
        for number, name in enumerate(sorted(firsts)[: self._limits.n_entries + 1], 1):
            listed = firsts[name]
            if not _is_safe(name):
                text = f"member {name[:200]!r} has a name that no file may have"
                findings.append(Finding(Reason.UNSAFE_MEMBER, text))
            elif listed is None or not listed.is_plain:
                (folder / name).mkdir()
            else:
                total += listed.size
                wanted = (
                    name in {*READ_MEMBERS, PERF}
                    and listed.size <= self._limits.member_bytes
                    and total <= self._limits.total_bytes
                    and number <= self._limits.n_entries
                )
                if wanted:
                    source = f"{_FOLDER}/{ref.host_id}/{ref.episode_id}/{name}"
                    self._folder.fetch(source, folder / name, entry=listed)
                else:
                    with (folder / name).open("xb") as stand_in:
                        stand_in.truncate(listed.size)
        return Reading(folder, tuple(findings))


class _Excerpt(RemoteStore):
    """A remote store's listing of some episodes, to send to a worker."""

    def __init__(self, whole: RemoteStore, files: dict[EpisodeRef, _Files]) -> None:
        super().__init__(whole.address, whole._limits)
        self._listed = files

    @property
    def _files(self) -> dict[EpisodeRef, _Files]:
        return self._listed


def _is_safe(name: str) -> bool:
    """Whether a file of this name can be made in a folder, and nowhere else."""
    if name in ("", ".", "..") or "\0" in name or not {"/", "\\"}.isdisjoint(name):
        return False
    try:
        return len(name.encode()) <= 255
    except UnicodeEncodeError:
        return False


def _stamp(name: str, entry: Entry) -> list[str | int]:
    kind = stat.S_IFREG if entry.is_plain else 0
    return [printable(name), kind, entry.size, entry.stamp]

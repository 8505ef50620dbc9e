"""Remote receiver store: listed once; each episode is fetched only while it is read."""

import hashlib
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from cis490_pipeline.domain import Address, EpisodeRef, is_host_id
from cis490_pipeline.errors import StoreError
from cis490_pipeline.storage.files import printable
from cis490_pipeline.storage.remote_folder import Entry, RemoteFolder
from cis490_pipeline.store.archive.unpack import PERF, READ_MEMBERS, Limits, archive_size_finding
from cis490_pipeline.store.reasons import Finding, Reason
from cis490_pipeline.store.receiver import (
    ARCHIVE_SUFFIX,
    LocalStore,
    Reading,
    ReceiverStore,
    describe_left_out,
    ref_of,
    require_index_size,
)
from cis490_pipeline.store.receiver_index import INDEX_FILE, LeftOut, bounded_lines

_FOLDER: Final = "episodes"
_Files = dict[str, Entry]


def open_store(place: Path | Address) -> ReceiverStore:
    """Open the store at a path or an address."""
    return RemoteStore(place) if isinstance(place, Address) else LocalStore(place)


class RemoteStore(ReceiverStore):
    """Remote store as of its first listing; create a new instance to see later changes.

    One recursive listing gives every name, size and entity tag. An archive, or the members of a
    folder, are copied to a temporary folder that is removed after reading. Object names are
    untrusted: only valid episode names are considered, and no name can escape that folder.
    """

    def __init__(self, address: Address, limits: Limits | None = None) -> None:
        self.address = address
        self._folder = RemoteFolder(address)
        self._limits = limits or Limits()

    def __getstate__(self) -> dict[str, Address | RemoteFolder | Limits]:
        # A lab's listing has 76,660 entries; `only` sends the needed part.
        return {name: value for name, value in vars(self).items() if name != "_listed"}

    @property
    def name(self) -> str:
        """The address."""
        return str(self.address)

    @property
    def _files(self) -> dict[EpisodeRef, _Files]:
        """Files of each episode, named relative to its host's folder."""
        return self._listed.files

    @cached_property
    def _listed(self) -> "_Listing":
        files: dict[EpisodeRef, _Files] = {}
        others: dict[str, bool] = {}
        names = self._folder.find(_FOLDER)
        for name, entry in names.items():
            # HOST/ENTRY, or HOST/ENTRY/MEMBER.
            parts = name.removeprefix(f"{_FOLDER}/").split("/")
            ref = ref_of(parts[0], parts[1]) if len(parts) > 1 else None
            if ref is not None:
                files.setdefault(ref, {})["/".join(parts[1:])] = entry
            elif parts[-1]:
                # Report a foreign folder once, not each file in it. (Some tools leave an empty
                # object with a folder's own name, which is skipped.)
                depth = 2 if is_host_id(parts[0]) else 1
                others["/".join(parts[:depth])] = len(parts) > depth
        return _Listing(files, others, bool(names))

    @cached_property
    def _index(self) -> Entry | None:
        return self._folder.entry(INDEX_FILE)

    def only(self, refs: Iterable[EpisodeRef]) -> ReceiverStore:
        """Return a store whose listing is limited to these episodes and pickled with it."""
        return _Excerpt(self, {ref: self._files[ref] for ref in refs if ref in self._files})

    @contextmanager
    def index_lines(self) -> Iterator[Iterable[bytes]]:
        """Copy the index to a temporary file and return its lines."""
        if self._index is None:
            if not self._files:
                raise StoreError(
                    f"{self.address}: no such store; set CIS490_STORE or --store to an address "
                    f"with {INDEX_FILE} and {_FOLDER}/ below it"
                )
            yield ()
            return
        require_index_size(f"{self.address}/{INDEX_FILE}", self._index.size)
        with tempfile.TemporaryDirectory(prefix="cis490-") as scratch:
            copy = Path(scratch) / INDEX_FILE
            self._folder.fetch(INDEX_FILE, copy, entry=self._index)
            with copy.open("rb") as stream:
                yield bounded_lines(stream)

    def listed(self) -> Iterator[EpisodeRef]:
        """Yield the listed episodes."""
        yield from self._files

    def left_out(self) -> LeftOut:
        """List other entries beside hosts and beside episodes."""
        left_out = LeftOut()
        for name, is_folder in sorted(self._listed.others.items()):
            text = describe_left_out(name, is_folder=is_folder)
            if text is not None:
                left_out.add(text)
        return left_out

    def is_bare(self) -> bool:
        """Whether nothing was listed."""
        return not self._listed.is_any

    def whereabouts(self) -> str:
        """Explain the expected form of a store's address."""
        return (
            f"set --store or CIS490_STORE to an address with {INDEX_FILE} and "
            f"{_FOLDER}/HOST/ULID{ARCHIVE_SUFFIX} below it"
        )

    def has(self, ref: EpisodeRef) -> bool:
        """Whether the archive or a member was listed."""
        return bool(self._archive(ref) or self._members(ref))

    def stamps(self, ref: EpisodeRef) -> list[list[str | int]] | None:
        """Return the listing entry of the archive, or of each member."""
        archive = self._archive(ref)
        if archive is not None:
            return [_stamp(f"{ref.episode_id}{ARCHIVE_SUFFIX}", archive)]
        members = self._members(ref)
        return [_stamp(name, members[name]) for name in sorted(members)] or None

    def listing_digest(self) -> str:
        """Digest the listing, with the index by its entity tag."""
        total = hashlib.sha256()
        for ref in sorted(self._files):
            for name, entry in sorted(self._files[ref].items()):
                line = f"{ref.host_id}/{printable(name)}\0{entry.size}\0{entry.stamp}\n"
                total.update(line.encode())
        if self._index is not None:
            total.update(f"{INDEX_FILE}\0{self._index.size}\0{self._index.stamp}".encode())
        return total.hexdigest()

    @contextmanager
    def reading(self, ref: EpisodeRef) -> Iterator[Reading]:
        """Fetch an episode within the format's limits."""
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
        # Some tools leave an empty object with the folder's own name, which is not a member.
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
        """Rebuild an episode's folder, so that local and remote episodes share one validator.

        A member that will not be read, because it is unknown or over a limit, becomes a sparse file
        of the same size; a nested name becomes a folder.
        """
        folder = scratch / ref.episode_id
        folder.mkdir()
        findings = []
        total = 0
        firsts: dict[str, Entry | None] = {}
        for name, entry in sorted(members.items()):
            first, separator, _ = name.partition("/")
            firsts[first] = None if separator or first in firsts else entry
        # One more than the limit, so that the validator sees that it is exceeded.
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


@dataclass(frozen=True)
class _Listing:
    """Listing of ``episodes/``."""

    files: dict[EpisodeRef, _Files]
    others: dict[str, bool]
    """Entries that are neither a host nor an episode, and whether each is a folder."""
    is_any: bool
    """Whether the listing is not empty."""


class _Excerpt(RemoteStore):
    """A remote store limited to some episodes, to send to a worker."""

    def __init__(self, whole: RemoteStore, files: dict[EpisodeRef, _Files]) -> None:
        super().__init__(whole.address, whole._limits)
        self._excerpt = files

    @property
    def _files(self) -> dict[EpisodeRef, _Files]:
        return self._excerpt


def _is_safe(name: str) -> bool:
    """Whether a name is valid for a file directly inside a folder."""
    if name in ("", ".", "..") or "\0" in name or not {"/", "\\"}.isdisjoint(name):
        return False
    try:
        return len(name.encode()) <= 255
    except UnicodeEncodeError:
        return False


def _stamp(name: str, entry: Entry) -> list[str | int]:
    kind = stat.S_IFREG if entry.is_plain else 0
    return [printable(name), kind, entry.size, entry.stamp]

"""Writing episodes to a receiver store: archive, atomic rename, index row; a crash leaves no half.

Used by recording, episode by episode, and by simulation, which renames a whole store into place.
"""

import fcntl
import io
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final, TypedDict

import msgspec
import zstandard

from cis490_pipeline.domain import EpisodeRef
from cis490_pipeline.errors import StoreError
from cis490_pipeline.storage.files import atomic_write, naming
from cis490_pipeline.store.metadata import SCHEMA_VERSION
from cis490_pipeline.store.receiver import ARCHIVE_SUFFIX
from cis490_pipeline.store.receiver_index import INDEX_FILE

ZSTD_LEVEL: Final = 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BASE32: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM_BITS: Final = 80
_RANDOM_CHARACTERS: Final = 16


class IndexLine(TypedDict):
    """A line of ``index.jsonl``."""

    received_at_wall: str
    host_id: str
    episode_id: str
    sha256: str | None
    bytes: int
    schema_version: int
    commit: str


class LabelLine(TypedDict):
    """A line of ``labels.jsonl``."""

    phase: str
    prev: str | None
    reason: str
    t_mono_ns: int
    t_wall_ns: int


def wall_text(t_ns: int) -> str:
    """Format a Unix time as ISO 8601 UTC with microseconds and ``Z``."""
    moment = _EPOCH + timedelta(microseconds=t_ns // 1000)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def ulid(t_ms: int, random: bytes) -> str:
    """Return a ULID of a Unix time in ms and ten random bytes, least significant first."""
    value = t_ms << _RANDOM_BITS | int.from_bytes(random[:10], "little")
    return "".join(_BASE32[value >> shift & 31] for shift in range(125, -1, -5))


def random_part(episode_id: str) -> str:
    """Return the characters of a ULID that do not depend on its time."""
    return episode_id[-_RANDOM_CHARACTERS:]


def pack(members: Mapping[str, bytes], links: Sequence[str] = ()) -> bytes:
    """Return the ``.tar.zst`` of an episode's members; equal contents give equal bytes.

    Parameters
    ----------
    members : content of each member by name, in the order of the archive.
    links : names of symbolic links to add, which only tests of readers want.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for name in links:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(entry)
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(buffer.getvalue())


def index_line(
    ref: EpisodeRef, *, received_at_wall: str, sha256: str | None, n_bytes: int, commit: str
) -> IndexLine:
    """Return the index row of one shipment."""
    return {
        "received_at_wall": received_at_wall,
        "host_id": ref.host_id,
        "episode_id": ref.episode_id,
        "sha256": sha256,
        "bytes": n_bytes,
        "schema_version": SCHEMA_VERSION,
        "commit": commit,
    }


@contextmanager
def writing_alone(root: Path, marker: str) -> Iterator[None]:
    """Hold a store's lock against a second writer, until the block or the process ends.

    Parameters
    ----------
    root : folder of the store; created if missing.
    marker : name of the lock file in it.

    Raises
    ------
    StoreError
        If another process holds it.
    """
    root.mkdir(parents=True, exist_ok=True)
    # flock rather than a file's existence: the kernel releases it however the process ends.
    with (root / marker).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            raise StoreError(
                f"{root}: another process is writing to this store; wait for its end, "
                "or name another folder"
            ) from taken
        yield


def write_archive(root: Path, ref: EpisodeRef, archive: bytes) -> Path:
    """Write an episode's archive durably under its final name, not yet indexed."""
    path = root / "episodes" / ref.host_id / f"{ref.episode_id}{ARCHIVE_SUFFIX}"
    if path.exists():
        raise StoreError(f"{path}: exists, and an archive never changes")
    atomic_write(path, lambda stream: _write_all(stream, archive))
    _sync_folder(path.parent)
    return path


def commit_episode(
    root: Path, ref: EpisodeRef, archive: bytes, *, received_at_wall: str, commit: str
) -> IndexLine:
    """Add an episode to a store: archive first, index row last, both on disk on return.

    Killed before the row, the archive is whole and unindexed (`index_archive` adds the row); before
    that, only a temporary name beginning with a dot is left, which no reader lists.

    Raises
    ------
    StoreError
        If the episode's archive exists.
    OSError
        Naming the file; then the index is as before.
    """
    write_archive(root, ref, archive)
    return index_archive(root, ref, archive, received_at_wall=received_at_wall, commit=commit)


def index_archive(
    root: Path, ref: EpisodeRef, archive: bytes, *, received_at_wall: str, commit: str
) -> IndexLine:
    """Append the index row of an archive that is in place."""
    row = index_line(
        ref,
        received_at_wall=received_at_wall,
        sha256=sha256(archive).hexdigest(),
        n_bytes=len(archive),
        commit=commit,
    )
    _append_line(root / INDEX_FILE, msgspec.json.encode(row) + b"\n")
    return row


def _append_line(path: Path, line: bytes) -> None:
    """Append a line durably; a line cut short by an earlier crash is removed before."""
    created = not path.exists()
    with naming(path, "cannot be written"), path.open("ab+", buffering=0) as stream:
        whole = _whole_lines(stream)
        stream.truncate(whole)
        try:
            if stream.write(line) != len(line):
                raise OSError(f"only a part of {len(line)} bytes was written")
            os.fsync(stream.fileno())
        except BaseException:
            # A full disk takes a part of the line; half a row would be a finding for ever.
            stream.truncate(whole)
            raise
    if created:
        _sync_folder(path.parent)


def _whole_lines(stream: io.FileIO) -> int:
    """Return the length of a file up to its last complete line."""
    end = stream.seek(0, os.SEEK_END)
    tail_bytes = min(end, 1 << 16)
    stream.seek(end - tail_bytes)
    tail = stream.read(tail_bytes)
    if not tail or tail.endswith(b"\n"):
        return end
    return end - tail_bytes + tail.rfind(b"\n") + 1


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(stream: BinaryIO, content: bytes) -> None:
    stream.write(content)

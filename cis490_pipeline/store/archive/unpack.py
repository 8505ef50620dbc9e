"""Reading an episode's members from an untrusted archive or unpacked folder."""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from cis490_pipeline.domain import Source
from cis490_pipeline.storage.files import kind_of_file, open_regular, stream_sha256
from cis490_pipeline.store.archive.archive_errors import ArchiveError, OversizeError
from cis490_pipeline.store.archive.member_content import kept_lines, kept_start
from cis490_pipeline.store.archive.tar_stream import tar_members
from cis490_pipeline.store.archive.zstd_frames import foreign_kind
from cis490_pipeline.store.reasons import Finding, Reason, rejected
from cis490_pipeline.store.receiver import ARCHIVE_SUFFIX

META: Final = "meta.json"
LABELS: Final = "labels.jsonl"
EVENTS: Final = "events.jsonl"
DONE: Final = "done.marker"
PERF: Final = "telemetry-perf.jsonl"
_PIECE_BYTES: Final = 1 << 20
_HEAD_BYTES: Final = 512
READ_MEMBERS: Final = frozenset({META, LABELS, EVENTS, DONE, *(s.member for s in Source)})
"""Members whose content is kept in memory; for others, only lines are counted."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Size limits of members, episodes and archives."""

    archive_bytes: int = 1 << 30
    """Compressed size of an archive; a larger one is not even hashed."""
    member_bytes: int = 256 << 20
    total_bytes: int = 1 << 30
    n_members: int = 64
    n_entries: int = 1000
    """Number of entries of any kind."""


@dataclass(kw_only=True)
class Unpacked:
    """Readable members of an episode, and faults found."""

    contents: dict[str, bytes] = field(default_factory=dict)
    """Bytes of the members that the pipeline reads."""
    line_counts: dict[str, int | None] = field(default_factory=dict)
    """Number of line feeds of each present member; ``None`` for those in ``contents``, whose parser
    counts lines anyway (counting costs as much as unpacking)."""
    findings: list[Finding] = field(default_factory=list)
    complete: bool = True
    """Whether the end was reached; otherwise, an absent member is no fault."""
    sha256: str | None = None
    """SHA-256 of the archive; ``None`` for a folder."""

    def fault(self, reason: Reason, detail: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(reason, detail))

    def stop(self, reason: Reason, detail: str) -> None:
        """Add a finding because of which the rest is not read."""
        self.complete = False
        self.fault(reason, detail)


def unpack(
    path: Path, expected_sha256: str | None = None, limits: Limits | None = None
) -> Unpacked:
    """Read an episode's members; faults are findings, not exceptions."""
    limits = limits or Limits()
    if path.is_dir():
        return _unpack_folder(path, limits)
    with open_regular(path) as stream:
        before = os.fstat(stream.fileno())
        unpacked = _unpack_stream(path, stream, before.st_size, expected_sha256, limits)
    if _identity(path.stat()) != _identity(before):
        # Content and digest may not belong together; the next sweep will read it again.
        raise OSError(f"{path}: was replaced while it was being read")
    return unpacked


def archive_size_finding(name: str, n_bytes: int, limits: Limits) -> Finding | None:
    """Return ``member_too_large`` if an archive exceeds the limit on its compressed size."""
    if n_bytes <= limits.archive_bytes:
        return None
    text = f"{name}: has {n_bytes} bytes, at most {limits.archive_bytes} are read"
    return Finding(Reason.MEMBER_TOO_LARGE, text)


def read_members(path: Path, expected_sha256: str | None = None) -> dict[str, bytes]:
    """Read the members that the pipeline uses.

    Raises `EpisodeRejectedError` with the reason codes ``sha256_mismatch``, ``archive_corrupt``,
    ``archive_unsupported``, ``unsafe_member`` or ``member_too_large``.
    """
    unpacked = unpack(path, expected_sha256)
    if unpacked.findings:
        raise rejected(path, unpacked.findings)
    return unpacked.contents


def content_digest(contents: dict[str, bytes]) -> str | None:
    """SHA-256 of the four sources' bytes, or ``None`` if there are none.

    Excludes labels and meta: the same telemetry under another id or label is the same data.
    """
    total = hashlib.sha256()
    n_bytes = 0
    for source in Source:
        content = contents.get(source.member, b"")
        n_bytes += len(content)
        total.update(f"{source}:{len(content)}:".encode())
        total.update(content)
    return total.hexdigest() if n_bytes else None


def _unpack_stream(
    path: Path, stream: BinaryIO, n_bytes: int, expected_sha256: str | None, limits: Limits
) -> Unpacked:
    too_large = archive_size_finding(path.name, n_bytes, limits)
    if too_large is not None:
        return Unpacked(complete=False, findings=[too_large])
    unpacked = Unpacked(sha256=stream_sha256(stream))
    stream.seek(0)
    if expected_sha256 is not None and unpacked.sha256 != expected_sha256:
        kind = foreign_kind(stream.read(_HEAD_BYTES))
        text = f"{path.name} has sha256 {unpacked.sha256}, the index says {expected_sha256}"
        unpacked.stop(Reason.SHA256_MISMATCH, text + (f"; it {kind}" if kind else ""))
        return unpacked
    _unpack_archive(path, stream, limits, unpacked)
    return unpacked


def _unpack_archive(path: Path, stream: BinaryIO, limits: Limits, unpacked: Unpacked) -> None:
    episode_id = path.name.removesuffix(ARCHIVE_SUFFIX)
    own_folders = {".", episode_id, f"./{episode_id}"}
    own_prefixes = {"", *(f"{folder}/" for folder in own_folders)}
    budget = _Budget(limits, unpacked)
    try:
        # Headers and padding are added to the members' own bytes.
        overhead = (limits.n_members + 16) * 4096
        for number, member in enumerate(tar_members(stream, limits.total_bytes + overhead)):
            if number == limits.n_entries:
                raise OversizeError(f"has more than {limits.n_entries} entries")
            if member.is_folder and member.name in own_folders:
                continue
            base = member.name.rpartition("/")[2]
            prefix = member.name.removesuffix(base)
            if not member.is_file or prefix not in own_prefixes or not base:
                text = f"member {_short(member.name)} is {member.describe()}"
                unpacked.fault(Reason.UNSAFE_MEMBER, text)
                continue
            if budget.admits(base, member.size):
                _keep(unpacked, base, member.pieces())
    except ArchiveError as wrong:
        unpacked.stop(wrong.reason, f"{path.name}: {wrong}")


def _unpack_folder(path: Path, limits: Limits) -> Unpacked:
    unpacked = Unpacked()
    budget = _Budget(limits, unpacked)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
        for name in names[: limits.n_entries]:
            seen = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISREG(seen.st_mode):
                kind = kind_of_file(seen.st_mode)
                unpacked.fault(Reason.UNSAFE_MEMBER, f"{_short(name)} is {kind}, not a file")
            elif budget.admits(name, seen.st_size):
                with open_regular(name, follow=False, dir_fd=folder) as stream:
                    _keep(unpacked, name, _pieces(stream, seen.st_size))
        if len(names) > limits.n_entries:
            text = f"{path.name}: has more than {limits.n_entries} entries"
            unpacked.stop(Reason.MEMBER_TOO_LARGE, text)
    finally:
        os.close(folder)
    return unpacked


class _Budget:
    """Enforces the limits on members and bytes."""

    def __init__(self, limits: Limits, unpacked: Unpacked) -> None:
        self._limits = limits
        self._unpacked = unpacked
        self._seen: set[str] = set()
        self._total = 0

    def admits(self, name: str, size: int) -> bool:
        """Whether a member may be read; adds a finding if not."""
        limits = self._limits
        if name in self._seen:
            self._unpacked.fault(Reason.UNSAFE_MEMBER, f"member {_short(name)} is given twice")
            return False
        if not name.isprintable():
            text = f"member {_short(name)} has a name with control characters or not in UTF-8"
            self._unpacked.fault(Reason.UNSAFE_MEMBER, text)
            return False
        self._seen.add(name)
        self._total += size
        if len(self._seen) == limits.n_members + 1:
            self._too_large(f"more than {limits.n_members} members, first {_short(name)}")
        if size > limits.member_bytes:
            of = f"member {_short(name)} has {size} bytes"
            self._too_large(f"{of}, at most {limits.member_bytes} are read")
        elif self._total > limits.total_bytes:
            of = f"{self._total} bytes up to {_short(name)}"
            self._too_large(f"{of}, at most {limits.total_bytes} are read")
        elif len(self._seen) <= limits.n_members:
            return True
        # Present though unread, so that it is not reported as missing.
        self._unpacked.line_counts.setdefault(name, 0)
        return False

    def _too_large(self, text: str) -> None:
        self._unpacked.fault(Reason.MEMBER_TOO_LARGE, text)


def _pieces(stream: BinaryIO, n_bytes: int) -> Iterator[bytes]:
    """Yield a file's bytes up to its size when it was opened."""
    while n_bytes > 0 and (piece := stream.read(min(n_bytes, _PIECE_BYTES))):
        n_bytes -= len(piece)
        yield piece


def _keep(unpacked: Unpacked, name: str, pieces: Iterator[bytes]) -> None:
    if name in READ_MEMBERS:
        keep = kept_start if name in (META, DONE) else kept_lines
        unpacked.contents[name] = keep(pieces)
        unpacked.line_counts[name] = None
    else:
        unpacked.line_counts[name] = sum(piece.count(b"\n") for piece in pieces)


def _short(name: str) -> str:
    return f"{name[:200]!r}"


def _identity(seen: os.stat_result) -> tuple[int, int, int]:
    return seen.st_ino, seen.st_size, seen.st_mtime_ns

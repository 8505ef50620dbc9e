"""Members of an episode, from its archive or its unpacked folder, without trusting either."""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cis490_pipeline.domain import Source
from cis490_pipeline.errors import EpisodeRejectedError
from cis490_pipeline.store.files import file_sha256
from cis490_pipeline.store.layout import ARCHIVE_SUFFIX
from cis490_pipeline.store.reasons import Finding, Reason
from cis490_pipeline.store.tar_stream import (
    CorruptArchiveError,
    OversizeError,
    tar_members,
)

META: Final = "meta.json"
LABELS: Final = "labels.jsonl"
EVENTS: Final = "events.jsonl"
DONE: Final = "done.marker"
PERF: Final = "telemetry-perf.jsonl"
READ_MEMBERS: Final = frozenset({META, LABELS, EVENTS, DONE, *(s.member for s in Source)})
"""Members whose content is kept in memory; all others are only counted."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much of a member, of an episode, and how many members are read at most."""

    member_bytes: int = 256 << 20
    total_bytes: int = 1 << 30
    n_members: int = 64
    n_entries: int = 1000
    """Entries of any kind that are looked at."""


@dataclass(kw_only=True)
class Unpacked:
    """What could be read of an episode, and what was wrong with the rest."""

    contents: dict[str, bytes] = field(default_factory=dict)
    """Bytes of the members that the pipeline reads."""
    line_counts: dict[str, int | None] = field(default_factory=dict)
    """Line feeds of each member that is present; ``None`` of those in ``contents``: who reads their
    lines knows how many there are, and counting costs as much as unpacking."""
    findings: list[Finding] = field(default_factory=list)
    complete: bool = True
    """Whether the end was reached; if not, an absent member says nothing."""
    sha256: str | None = None
    """Of the archive's file; ``None`` for a folder."""

    def fault(self, reason: Reason, detail: str) -> None:
        """Note a finding."""
        self.findings.append(Finding(reason, detail))


def unpack(
    path: Path, expected_sha256: str | None = None, limits: Limits | None = None
) -> Unpacked:
    """Read an episode's members; faults are findings, not exceptions.

    Parameters
    ----------
    path : ``<episode_id>.tar.zst``, or the folder ``<episode_id>``.
    expected_sha256 : hex digest the archive must have; not asked of a folder.
    limits : the format's by default.

    Raises
    ------
    OSError
        If the file system fails; that says nothing about the episode.
    """
    limits = limits or Limits()
    if path.is_dir():
        return _unpack_folder(path, limits)
    before = path.stat()
    unpacked = Unpacked(sha256=file_sha256(path))
    if expected_sha256 is not None and unpacked.sha256 != expected_sha256:
        unpacked.complete = False
        unpacked.fault(
            Reason.SHA256_MISMATCH,
            f"{path.name} has sha256 {unpacked.sha256}, the index says {expected_sha256}",
        )
        return unpacked
    _unpack_archive(path, limits, unpacked)
    if _identity(path.stat()) != _identity(before):
        # What was unpacked may not be what was hashed; the next sweep finds it at rest.
        raise OSError(f"{path}: was replaced while it was being read")
    return unpacked


def read_members(path: Path, expected_sha256: str | None = None) -> dict[str, bytes]:
    """Read the members that the pipeline uses, or refuse the episode.

    Returns
    -------
    dict
        Bytes by member name, without folder prefix; a member that is not there is no key.

    Raises
    ------
    EpisodeRejectedError
        With the reason codes ``sha256_mismatch``, ``archive_corrupt``, ``unsafe_member`` or
        ``member_too_large``.
    OSError
        If the file system fails.
    """
    unpacked = unpack(path, expected_sha256)
    if unpacked.findings:
        raise EpisodeRejectedError(
            f"{path}: " + "; ".join(map(str, unpacked.findings)),
            tuple(sorted({finding.reason.value for finding in unpacked.findings})),
        )
    return unpacked.contents


def content_digest(contents: dict[str, bytes]) -> str | None:
    """Return the SHA-256 of the four sources' bytes, or ``None`` if there are none.

    Labels and meta are left out: the same telemetry under another id or label is the same data.
    """
    total = hashlib.sha256()
    n_bytes = 0
    for source in Source:
        content = contents.get(source.member, b"")
        n_bytes += len(content)
        total.update(f"{source}:{len(content)}:".encode())
        total.update(content)
    return total.hexdigest() if n_bytes else None


def _unpack_archive(path: Path, limits: Limits, unpacked: Unpacked) -> None:
    episode_id = path.name.removesuffix(ARCHIVE_SUFFIX)
    own_folders = {".", episode_id, f"./{episode_id}"}
    own_prefixes = {"", *(f"{folder}/" for folder in own_folders)}
    budget = _Budget(limits, unpacked)
    try:
        with path.open("rb") as stream:
            # Headers and padding come on top of the members' own bytes.
            overhead = (limits.n_members + 16) * 4096
            members = tar_members(stream, limits.total_bytes + overhead)
            for number, member in enumerate(members):
                if number == limits.n_entries:
                    raise OversizeError(f"has more than {limits.n_entries} entries")
                if member.is_folder and member.name in own_folders:
                    continue
                base = member.name.rpartition("/")[2]
                prefix = member.name.removesuffix(base)
                if not member.is_file or prefix not in own_prefixes or not base:
                    told = f"member {_short(member.name)} is {member.describe()}"
                    unpacked.fault(Reason.UNSAFE_MEMBER, told)
                    continue
                if budget.admits(base, member.size):
                    _keep(unpacked, base, member.pieces())
    except OversizeError as wrong:
        unpacked.complete = False
        unpacked.fault(Reason.MEMBER_TOO_LARGE, f"{path.name}: {wrong}")
    except CorruptArchiveError as wrong:
        unpacked.complete = False
        unpacked.fault(Reason.ARCHIVE_CORRUPT, f"{path.name}: {wrong}")


def _unpack_folder(path: Path, limits: Limits) -> Unpacked:
    unpacked = Unpacked()
    budget = _Budget(limits, unpacked)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
        for name in names[: limits.n_entries]:
            # Looked at before it is opened, and again after: opening a device can act on it, and
            # between the two calls a link could be slipped in.
            before = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISREG(before.st_mode):
                unpacked.fault(
                    Reason.UNSAFE_MEMBER, f"{_short(name)} is {_kind(before.st_mode)}, not a file"
                )
                continue
            if not budget.admits(name, before.st_size):
                continue
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            opened = os.open(name, flags, dir_fd=folder)
            with os.fdopen(opened, "rb") as stream:
                if not stat.S_ISREG(os.fstat(opened).st_mode):
                    raise OSError(f"{path / name}: was replaced while it was being read")
                content = stream.read(before.st_size)
            _keep(unpacked, name, iter([content]))
        if len(names) > limits.n_entries:
            unpacked.complete = False
            told = f"{path.name}: has more than {limits.n_entries} entries"
            unpacked.fault(Reason.MEMBER_TOO_LARGE, told)
    finally:
        os.close(folder)
    return unpacked


class _Budget:
    """Counts members and bytes against the limits."""

    def __init__(self, limits: Limits, unpacked: Unpacked) -> None:
        self._limits = limits
        self._unpacked = unpacked
        self._seen: set[str] = set()
        self._total = 0

    def admits(self, name: str, size: int) -> bool:
        """Whether a member may be read; if not, the finding is noted."""
        limits = self._limits
        if name in self._seen:
            self._unpacked.fault(Reason.UNSAFE_MEMBER, f"member {_short(name)} is given twice")
            return False
        if not name.isprintable():
            told = f"member {_short(name)} has a name with control characters or not in UTF-8"
            self._unpacked.fault(Reason.UNSAFE_MEMBER, told)
            return False
        self._seen.add(name)
        self._total += size
        if len(self._seen) == limits.n_members + 1:
            self._unpacked.fault(
                Reason.MEMBER_TOO_LARGE,
                f"more than {limits.n_members} members, first {_short(name)}",
            )
        if size > limits.member_bytes:
            self._unpacked.fault(
                Reason.MEMBER_TOO_LARGE,
                f"member {_short(name)} has {size} bytes, at most {limits.member_bytes} are read",
            )
        elif self._total > limits.total_bytes:
            self._unpacked.fault(
                Reason.MEMBER_TOO_LARGE,
                f"{self._total} bytes up to {_short(name)}, at most {limits.total_bytes} are read",
            )
        elif len(self._seen) <= limits.n_members:
            return True
        # It is there, though unread: missing_member would be untrue.
        self._unpacked.line_counts.setdefault(name, 0)
        return False


def _keep(unpacked: Unpacked, name: str, pieces: Iterator[bytes]) -> None:
    if name in READ_MEMBERS:
        unpacked.contents[name] = b"".join(pieces)
        unpacked.line_counts[name] = None
    else:
        unpacked.line_counts[name] = sum(piece.count(b"\n") for piece in pieces)


def _short(name: str) -> str:
    return f"{name[:200]!r}"


def _identity(seen: os.stat_result) -> tuple[int, int, int]:
    return seen.st_ino, seen.st_size, seen.st_mtime_ns


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a link"
    return "a folder" if stat.S_ISDIR(mode) else "a device, pipe or socket"

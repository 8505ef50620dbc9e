"""State file of a dashboard: safe opening, reading, and atomic replacement."""

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec

from cis490_pipeline.dashboard.state.current import Feed
from cis490_pipeline.errors import ConfigError
from cis490_pipeline.storage.files import write_whole
from cis490_pipeline.storage.json_text import decode_json

FORMAT: Final = 1
MAX_BYTES: Final = 256 << 20
"""Size limit for reading and writing; the state itself takes some megabytes."""
MAX_LINE: Final = 8 << 20
_HEAD_KEY: Final = b'{"dashboard_state":'
_COPY_BYTES: Final = 1 << 20
_SUFFIX: Final = ".tmp"
_LEFT: Final = r"[0-9a-f]{16}\.tmp"


class Head(msgspec.Struct, kw_only=True):
    """First line of the file."""

    dashboard_state: int
    n_kept: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Number of following lines written with this one; the others were appended later."""
    feeds: dict[str, Feed] = {}


def open_regular(path: Path) -> int:
    """Open a file for reading and appending, creating it if missing; return its descriptor.

    Raises `ConfigError` if it is a link or no regular file, is too large, or cannot be opened.
    """
    # O_NONBLOCK: opening a FIFO would otherwise wait for its other end.
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    advice = "name another file with --state"
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        problem = "it is a link" if error.errno == errno.ELOOP else str(error.strerror)
        raise ConfigError(
            f"{path}: cannot be opened for a dashboard's state ({problem}); {advice}"
        ) from error
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode) or about.st_size > MAX_BYTES:
        os.close(descriptor)
        problem = (
            f"has {about.st_size:,} bytes, a dashboard's state at most {MAX_BYTES:,}"
            if stat.S_ISREG(about.st_mode)
            else "is no regular file"
        )
        raise ConfigError(f"{path}: {problem}; {advice}")
    return descriptor


class StateReader:
    """Reader of an open state file, from its start."""

    def __init__(self, descriptor: int, path: Path) -> None:
        """Read the first line; `ConfigError` if it is not that of a dashboard's state."""
        self._stream = os.fdopen(os.dup(descriptor), "rb")
        self._stream.seek(0)
        self.head = Head(dashboard_state=FORMAT)
        self.sound_bytes = 0
        """Size up to the end of the last complete line read."""
        self.n_bytes = os.fstat(descriptor).st_size
        first = self._stream.readline(MAX_LINE)
        if first and (first.endswith(b"\n") or not _is_torn_head(first)):
            try:
                self.head = _decode_head(first, path)
            except ConfigError:
                self._stream.close()
                raise
            self.sound_bytes = len(first)

    def lines(self) -> Iterator[bytes]:
        """Yield the lines after the first; overlong ones in pieces, which do not decode."""
        at = self.sound_bytes
        with self._stream:
            while at and (line := self._stream.readline(MAX_LINE)):
                at += len(line)
                if line.endswith(b"\n"):
                    self.sound_bytes = at
                yield line


def _is_torn_head(first: bytes) -> bool:
    # After a power cut, unwritten parts may read as zeros.
    begun = first.rstrip(b"\0")
    return _HEAD_KEY.startswith(begun) or begun.startswith(_HEAD_KEY)


def _decode_head(first: bytes, path: Path) -> Head:
    try:
        head = decode_json(first, Head)
    except msgspec.DecodeError:
        head = Head(dashboard_state=0)
    if head.dashboard_state != FORMAT:
        raise ConfigError(
            f"{path}: its first line is not that of a dashboard's state (format {FORMAT}); "
            "move it away, or name another file with --state"
        )
    return head


@dataclass(frozen=True)
class Replacement:
    """Rewritten file beside the one it will replace."""

    path: Path
    descriptor: int

    def add_from(self, source: int, begin: int, end: int) -> None:
        """Append a byte range of another file."""
        while begin < end:
            piece = os.pread(source, min(_COPY_BYTES, end - begin), begin)
            if not piece:
                raise OSError(errno.EIO, "became shorter while it was copied", str(self.path))
            write_whole(self.descriptor, piece)
            begin += len(piece)

    def discard(self) -> None:
        """Close and remove it."""
        os.close(self.descriptor)
        self.path.unlink(missing_ok=True)


def write_beside(path: Path, lines: Iterable[bytes]) -> Replacement:
    """Write lines to a new file in the same folder, and sync it to disk.

    Its name is random and it is created exclusively, so that no planted link is followed. If there
    is no room, nothing is left behind.
    """
    beside = path.with_name(f"{_prefix(path)}{secrets.token_hex(8)}{_SUFFIX}")
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    made = Replacement(beside, os.open(beside, flags, 0o600))
    try:
        write_whole(made.descriptor, b"".join(line + b"\n" for line in lines))
        os.fsync(made.descriptor)
    except BaseException:
        made.discard()
        raise
    return made


def remove_leftovers(path: Path) -> None:
    """Remove replacements left by a killed process; call only while holding the lock."""
    prefix = _prefix(path)
    with os.scandir(path.parent) as entries:
        left = [e.path for e in entries if re.fullmatch(_LEFT, e.name.removeprefix(prefix))]
    for name in left:
        Path(name).unlink(missing_ok=True)


def _prefix(path: Path) -> str:
    return f".{path.name}."


def sync_folder(path: Path) -> None:
    """Sync the folder of a file, so that its name is on disk."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

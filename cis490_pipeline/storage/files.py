"""Atomic file writes, and digests that are equal on every machine."""

import errno
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from cis490_pipeline.errors import StoreError
from cis490_pipeline.storage.json_text import decode_value

_CHUNK: Final = 1 << 20
_MAX_STEM: Final = 200
"""Bytes of a name kept in its temporary name: file systems allow 255 for the whole."""


@contextmanager
def naming(path: Path, attempt: str) -> Iterator[None]:
    """Add the path and the attempt to every `OSError` of a block, keeping its number and class.

    A failing ``write`` or ``fsync`` reports "No space left on device" without a path; an error that
    names another path keeps it. The attempt reads ``cannot be written``.
    """
    try:
        yield
    except OSError as fault:
        if fault.filename is not None:
            raise
        number = errno.EIO if fault.errno is None else fault.errno
        raise OSError(number, f"{attempt}: {fault.strerror or fault}", str(path)) from fault


def atomic_write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file atomically: to a temporary name in the same folder, then rename.

    Missing parent folders are created. Exceptions of ``write``, which gets the open file, propagate
    and leave `path` unchanged and no temporary file. An `OSError` names `path`, whichever system
    call failed.
    """
    stem = os.fsdecode(os.fsencode(path.name)[:_MAX_STEM])
    temporary = path.with_name(f".{stem}.{secrets.token_hex(6)}.tmp")
    with naming(path, "cannot be written"):
        try:
            _write_and_rename(path, temporary, write)
        except OSError as fault:
            if fault.filename != str(temporary):
                raise
            # `naming` adds the path that the caller knows.
            raise OSError(fault.errno, fault.strerror) from fault


def remove_unfinished(folder: Path) -> None:
    """Remove temporary files of killed writes; only for a folder that no other process writes."""
    for path in folder.glob(".*.tmp"):
        if re.fullmatch(r"\..*\.[0-9a-f]{12}\.tmp", path.name):
            path.unlink(missing_ok=True)


def _write_and_rename(path: Path, temporary: Path, write: Callable[[BinaryIO], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # "x" rather than tempfile: the file gets the umask's permissions, not 0600.
    stream = temporary.open("xb")
    try:
        try:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        finally:
            # Closing flushes again what a full disk refused; report the first error, not this one.
            with suppress(OSError):
                stream.close()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def canonical_json(value: Any) -> bytes:
    """Encode as canonical JSON: sorted keys, no spaces, UTF-8; `ValueError` for NaN."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def digest(value: Any) -> str:
    """SHA-256 (hex) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write a value as sorted, indented JSON, atomically."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    atomic_write(path, lambda stream: stream.write(text.encode() + b"\n"))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises `StoreError`, naming the file, if it is missing, not UTF-8, not JSON, or nested too
    deeply.
    """
    try:
        with open_regular(path) as stream:
            return decode_value(stream.read())
    except FileNotFoundError as missing:
        raise StoreError(f"{path}: no such file") from missing
    except msgspec.DecodeError as wrong:
        raise StoreError(f"{path}: not JSON: {wrong}") from wrong


def read_object(path: Path, *keys: str) -> dict[str, Any]:
    """Read a JSON object and require certain keys.

    Raises `StoreError` as ``read_json``, or if the value is not an object or lacks a key.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise StoreError(f"{path}: holds a JSON {type(value).__name__}, wanted an object")
    missing = [key for key in keys if key not in value]
    if missing:
        raise StoreError(f"{path}: has no {', '.join(missing)}; it is not complete, make it again")
    return value


def printable(name: str) -> str:
    """Escape the bytes of a file name that are not valid UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()


def open_regular(
    path: Path | str, *, follow: bool = True, dir_fd: int | None = None, buffering: int = -1
) -> BinaryIO:
    """Open a regular file for reading; never blocks on a pipe or opens a device.

    Parameters
    ----------
    path : path of the file; a bare name if `dir_fd`, the descriptor of its folder, is given.
    follow : whether the last component may be a symbolic link.

    Raises
    ------
    OSError
        Naming the file, if it is not regular or cannot be opened.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    # Checked before opening, because opening a device can have side effects, and again after, in
    # case the file was replaced in between.
    mode = os.stat(path, dir_fd=dir_fd, follow_symlinks=follow).st_mode
    if stat.S_ISREG(mode):
        opened = os.open(path, flags, dir_fd=dir_fd)
        mode = os.fstat(opened).st_mode
        if stat.S_ISREG(mode):
            return os.fdopen(opened, "rb", buffering)
        os.close(opened)
    raise OSError(errno.EINVAL, f"is {kind_of_file(mode)}, not a regular file", str(path))


def read_bounded(path: Path, limit: int) -> bytes:
    """Read all of a regular file that is no link, but never more than its limit.

    Raises `StoreError`, naming the file, if there is none, or it is larger.
    """
    try:
        with open_regular(path, follow=False) as stream:
            # One byte more than allowed shows a file that is too large, even while it grows.
            content = stream.read(limit + 1)
    except FileNotFoundError as missing:
        raise StoreError(f"{path}: no such file") from missing
    except OSError as fault:
        raise StoreError(f"{path}: no such file: {fault.strerror}") from fault
    if len(content) > limit:
        raise StoreError(f"{path}: larger than {limit} bytes")
    return content


def swap_in(fresh: Path, folder: Path) -> Path | None:
    """Put a folder in the place of another of the same parent; one of them is always whole.

    Returns where the former one is now, hidden beside it as ``.<name>.<random>.old``, if there was
    one.
    """
    if not folder.exists():
        fresh.rename(folder)
        return None
    old = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.old")
    folder.rename(old)
    try:
        fresh.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    return old


def write_whole(descriptor: int, content: bytes | memoryview) -> None:
    """Write all of it where a file stands; a full disk may end it anywhere, with an OSError."""
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def kind_of_file(mode: int) -> str:
    """Describe the kind of file of a mode (`st_mode`)."""
    kinds = {
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a regular file, read in chunks."""
    with open_regular(path) as stream:
        return stream_sha256(stream)


def stream_sha256(stream: BinaryIO) -> str:
    """SHA-256 (hex) of a stream from its current position, read in chunks."""
    total = hashlib.sha256()
    while piece := stream.read(_CHUNK):
        total.update(piece)
    return total.hexdigest()

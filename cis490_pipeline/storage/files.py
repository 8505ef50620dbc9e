"""Files written whole or not at all, and digests that mean the same on every machine."""

import errno
import hashlib
import json
import os
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
"""Bytes of a name that its temporary one repeats: file systems allow 255 for the whole."""


@contextmanager
def naming(path: Path, attempt: str) -> Iterator[None]:
    """Give every `OSError` of a block the path and the attempt, keeping its number and class.

    A failing ``write`` or ``fsync`` says "No space left on device" and not where.

    Parameters
    ----------
    path : the file or folder the block is about; a fault that names another keeps that name.
    attempt : what fails, such as ``cannot be written``.
    """
    try:
        yield
    except OSError as fault:
        if fault.filename is not None:
            raise
        number = errno.EIO if fault.errno is None else fault.errno
        raise OSError(number, f"{attempt}: {fault.strerror or fault}", str(path)) from fault


def atomic_write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under a temporary name beside its own, then rename it.

    Parameters
    ----------
    path : the file to make or replace; missing folders are made.
    write : is handed the open binary file; what it raises is passed on and leaves `path` as it was.

    Raises
    ------
    OSError
        Naming `path`, whatever the system call that failed; no temporary file is left behind.
    """
    stem = os.fsdecode(os.fsencode(path.name)[:_MAX_STEM])
    temporary = path.with_name(f".{stem}.{secrets.token_hex(6)}.tmp")
    with naming(path, "cannot be written"):
        try:
            _write_and_rename(path, temporary, write)
        except OSError as fault:
            if fault.filename != str(temporary):
                raise
            # The name that the caller knows.
            raise OSError(fault.errno, fault.strerror) from fault


def _write_and_rename(path: Path, temporary: Path, write: Callable[[BinaryIO], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # "x" and no tempfile module: the result gets the permissions of the umask, not 0600.
    stream = temporary.open("xb")
    try:
        try:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        finally:
            # Closing flushes again what a full disk refused: the first fault is the one to tell.
            with suppress(OSError):
                stream.close()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def canonical_json(value: Any) -> bytes:
    """Return the one JSON text of a value: sorted keys, no spaces, UTF-8, no NaN.

    Raises
    ------
    ValueError
        If a number is NaN or infinite, which JSON has no word for.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def digest(value: Any) -> str:
    """Return the SHA-256 (hex) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write a value as sorted, indented JSON, atomically."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    atomic_write(path, lambda stream: _write_all(stream, text.encode() + b"\n"))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    StoreError
        If the file is missing, is not UTF-8 or not JSON, or is nested too deep; the message names
        it.
    """
    try:
        with open_regular(path) as stream:
            return decode_value(stream.read())
    except FileNotFoundError as missing:
        raise StoreError(f"{path}: no such file") from missing
    except msgspec.DecodeError as wrong:
        raise StoreError(f"{path}: not JSON: {wrong}") from wrong


def read_object(path: Path, *keys: str) -> dict[str, Any]:
    """Read a JSON file that holds an object with certain keys.

    Raises
    ------
    StoreError
        As ``read_json``, or if it holds something else or lacks a key.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise StoreError(f"{path}: holds a JSON {type(value).__name__}, wanted an object")
    missing = [key for key in keys if key not in value]
    if missing:
        raise StoreError(f"{path}: has no {', '.join(missing)}; it is not complete, make it again")
    return value


def printable(name: str) -> str:
    """Return a file's name as text that UTF-8 can hold, whatever bytes the file system gave."""
    return name.encode("utf-8", "backslashreplace").decode()


def open_regular(
    path: Path | str, *, follow: bool = True, dir_fd: int | None = None, buffering: int = -1
) -> BinaryIO:
    """Open a file for reading if it is a regular one; no pipe is waited for, no device touched.

    Parameters
    ----------
    path : of the file; a bare name if `dir_fd` is given.
    follow : whether the path may end in a link.
    dir_fd : an open folder that `path` is relative to.
    buffering : 0 for none, as of :func:`open`.

    Raises
    ------
    OSError
        If it is no regular file, or cannot be opened; the message names it.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    # Looked at before it is opened, as opening a device can act on it, and again after, as another
    # may have been put in its place.
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

    Raises
    ------
    StoreError
        If there is none, or it is larger; the message names it.
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

    Returns
    -------
    Where the former one is now, hidden beside it as ``.<name>.<random>.old``; None if there was
    none.
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
    """Say in words what kind of file a mode (`st_mode`) is of."""
    kinds = {
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a regular file's bytes, read in pieces.

    Raises
    ------
    OSError
        If it is no regular file, or cannot be read.
    """
    with open_regular(path) as stream:
        return stream_sha256(stream)


def stream_sha256(stream: BinaryIO) -> str:
    """Return the SHA-256 (hex) of what a file holds from where it stands on, read in pieces."""
    total = hashlib.sha256()
    while piece := stream.read(_CHUNK):
        total.update(piece)
    return total.hexdigest()


def _write_all(stream: BinaryIO, content: bytes) -> None:
    stream.write(content)

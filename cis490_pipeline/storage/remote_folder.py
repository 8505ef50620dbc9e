"""A folder elsewhere: listed, read and written through fsspec, never trusted.

Credentials and endpoints are the file system's own affair (environment, fsspec's configuration);
what is read is bounded by the size that was listed, and verified where a digest is known.
"""

import contextlib
import errno
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Final

from cis490_pipeline.domain import Address
from cis490_pipeline.errors import ChangedMeanwhileError, ConfigError, PipelineError, StoreError
from cis490_pipeline.storage.files import atomic_write

_PIECE: Final = 16 << 20
_EXTRA_OF: Final = {"s3": "s3", "s3a": "s3"}
# A put there is seen whole or not at all; elsewhere it is written beside its name, then renamed.
_WHOLE_PUTS: Final = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"})
_CONDITIONAL_PUTS: Final = frozenset({"s3", "s3a"})
_LOST_RACE: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412"})
# Best first: an entity tag changes with the content, a time with every writing.
_STAMPS: Final = ("ETag", "etag", "md5Hash", "generation", "mtime", "LastModified", "last_modified")
_LAST_STAMPS: Final = ("updated", "modified", "created")
_LAST_SECOND: Final = 2**63 / 1e9
_TIMES: Final = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, as it was listed."""

    size: int
    """Bytes."""
    stamp: str
    """Changes when the content does: an entity tag, or a time."""
    is_plain: bool = True
    """Whether it is a file, and no link or device."""
    written_s: float | None = None
    """When it was written, seconds since 1970; None where that is not told."""


class RemoteFolder:
    """The files below an address. Pickles as the address alone: no connection crosses processes."""

    def __init__(self, address: Address) -> None:
        self.address = address

    def __reduce__(self) -> tuple[type["RemoteFolder"], tuple[Address]]:
        return type(self), (self.address,)

    @cached_property
    def _fs(self) -> Any:
        # Here, as it costs a fraction of a second that commands on local folders need not pay.
        import fsspec

        protocol = self.address.protocol
        try:
            return fsspec.filesystem(protocol, use_listings_cache=False)
        except ImportError as missing:
            extra = _EXTRA_OF.get(protocol)
            advice = f"pip install 'cis490_pipeline[{extra}]' brings it" if extra else str(missing)
            raise ConfigError(
                f"{self.address}: the package for {protocol}:// is not installed; {advice}"
            ) from missing
        except ValueError as unknown:
            raise ConfigError(f"{self.address}: {unknown}") from unknown

    @cached_property
    def _root(self) -> str:
        return str(self._fs._strip_protocol(str(self.address)))

    def find(self, below: str) -> dict[str, Entry]:
        """List every file below a folder, by name relative to this one, in one recursive listing.

        Raises
        ------
        OSError
            If it cannot be listed. A folder that does not exist is empty.
        """
        with _as_os_error(f"{self.address}/{below}"):
            try:
                found = self._fs.find(f"{self._root}/{below}", detail=True)
            except FileNotFoundError:
                return {}
        prefix = self._root + "/"
        return {
            name.removeprefix(prefix): _entry(info)
            for name, info in sorted(found.items())
            if name.startswith(prefix) and info["type"] != "directory"
        }

    def entry(self, name: str) -> Entry | None:
        """Return one file as it is now, or None if it is not there."""
        with _as_os_error(f"{self.address}/{name}"):
            try:
                info = self._fs.info(f"{self._root}/{name}")
            except FileNotFoundError:
                return None
        return None if info["type"] == "directory" else _entry(info)

    def pieces(self, name: str, size: int) -> Iterator[bytes]:
        """Yield a file's bytes in pieces of at most 16 MiB; never more than was listed.

        Raises
        ------
        OSError
            If it cannot be read, or has another size by now.
        """
        where = f"{self.address}/{name}"
        for start in range(0, size, _PIECE):
            stop = min(start + _PIECE, size)
            # One byte more at the end shows a file that has grown.
            wanted = stop + 1 if stop == size else stop
            with _as_os_error(where):
                content = self._fs.cat_file(f"{self._root}/{name}", start=start, end=wanted)
            if len(content) != stop - start:
                raise OSError(errno.EIO, "was replaced while it was being read", where)
            yield content

    def read(self, name: str, entry: Entry) -> bytes:
        """Return a small file's bytes."""
        return b"".join(self.pieces(name, entry.size))

    def fetch(self, name: str, target: Path, *, entry: Entry, sha256: str | None = None) -> None:
        """Copy a file here; `target` appears whole, and verified, or not at all.

        Parameters
        ----------
        name : which, relative to this folder.
        target : where to; its folder is made.
        entry : what was listed.
        sha256 : hex digest it must have, if one is known.

        Raises
        ------
        StoreError
            If it has another digest.
        OSError
            If it cannot be read or written.
        """
        total = hashlib.sha256()

        def write(stream: BinaryIO) -> None:
            for piece in self.pieces(name, entry.size):
                total.update(piece)
                stream.write(piece)
            if sha256 is not None and total.hexdigest() != sha256:
                raise StoreError(
                    f"{self.address}/{name}: has sha256 {total.hexdigest()}, its record says "
                    f"{sha256}; it was damaged there. Remove that record "
                    "(processed/records/…), and run again to make it anew"
                )

        atomic_write(target, write)

    def put(self, name: str, path: Path) -> None:
        """Copy a local file there, under a name that shows it whole or not at all.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        with _as_os_error(f"{self.address}/{name}"):
            self._put(name, lambda target: self._fs.put_file(str(path), target))

    def put_if_unchanged(self, name: str, content: bytes, stamp: str | None) -> None:
        """Write a small file, unless somebody else did since it was looked at.

        Parameters
        ----------
        stamp : of the file to replace; None if there must be none.

        Raises
        ------
        ChangedMeanwhileError
            If it is another by now.
        OSError
            If it cannot be written.

        Notes
        -----
        On S3 the server compares and writes in one step. Elsewhere it is compared here just before
        it is written: two writers within the same moment are not told apart.
        """
        where = f"{self.address}/{name}"
        with _as_os_error(where):
            if self.address.protocol in _CONDITIONAL_PUTS:
                condition = {"IfNoneMatch": "*"} if stamp is None else {"IfMatch": stamp}
                try:
                    self._fs.pipe_file(f"{self._root}/{name}", content, **condition)
                except OSError as refused:
                    if _lost_race(refused):
                        raise ChangedMeanwhileError(where) from refused
                    raise
                return
            now = self.entry(name)
            if (now.stamp if now else None) != stamp:
                raise ChangedMeanwhileError(where)
            self._put(name, lambda target: self._fs.pipe_file(target, content))

    def remove(self, name: str) -> None:
        """Remove a file; one that is gone is no error.

        Raises
        ------
        OSError
            If it cannot be removed.
        """
        with _as_os_error(f"{self.address}/{name}"), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(f"{self._root}/{name}")

    def _put(self, name: str, put: Any) -> None:
        target = f"{self._root}/{name}"
        if self.address.protocol in _WHOLE_PUTS:
            put(target)
            return
        folder, _, last = target.rpartition("/")
        beside = f"{folder}/.{last}.{secrets.token_hex(6)}.tmp"
        self._fs.makedirs(folder, exist_ok=True)
        try:
            put(beside)
            self._fs.mv(beside, target)
        except BaseException:
            with contextlib.suppress(OSError):
                self._fs.rm_file(beside)
            raise


def _entry(info: dict[str, Any]) -> Entry:
    # On a system that knows neither tag nor time, the size alone must do.
    known = (info[name] for name in (*_STAMPS, *_LAST_STAMPS) if info.get(name) is not None)
    stamp = next(known, "")
    if isinstance(stamp, datetime):
        # Some give a number when they list, and a date when they are asked for one file.
        stamp = stamp.timestamp()
    size = _size(info.get("size"))
    is_plain = info["type"] == "file" and not info.get("islink") and size is not None
    # A file system's clock is coarse: a file that was renamed over another has its own number.
    written = next((info[name] for name in _TIMES if info.get(name) is not None), None)
    return Entry(
        size or 0,
        f"{stamp}{info.get('ino', '')}",
        is_plain,
        _seconds(written),
    )


def _size(told: object) -> int | None:
    """Return a size in bytes; None of one that is none, as below zero it would lift every limit."""
    if not isinstance(told, int) or isinstance(told, bool) or not 0 <= told < 2**63:
        return None
    return told


def _seconds(time: object) -> float | None:
    """Return seconds since 1970 of what file systems give: a date, a number, an ISO text."""
    if isinstance(time, str):
        try:
            time = datetime.fromisoformat(time)
        except ValueError:
            return None
    if isinstance(time, datetime):
        # Without a zone it is UTC: object stores and fsspec tell it so.
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    # NaN is neither old nor young, and 0 is what some give for a time they do not know.
    if not isinstance(time, int | float) or not 0 < time < _LAST_SECOND:
        return None
    return float(time)


def _lost_race(refused: OSError) -> bool:
    response = getattr(refused.__cause__, "response", None) or {}
    code = str(response.get("Error", {}).get("Code", ""))
    return code in _LOST_RACE or isinstance(refused, FileExistsError)


@contextlib.contextmanager
def _as_os_error(where: str) -> Iterator[None]:
    """Raise what a backend makes of a failing network as what it is to us: an error of I/O."""
    try:
        yield
    except PipelineError:
        raise
    except OSError as fault:
        if where in str(fault):
            raise
        # Its number decides which subclass it becomes: FileNotFoundError stays one.
        number = fault.errno if fault.errno is not None else errno.EIO
        raise OSError(number, str(fault.strerror or fault), where) from fault
    except Exception as fault:
        raise OSError(errno.EIO, f"{type(fault).__name__}: {fault}", where) from fault

"""Remote folder, listed, read and written through fsspec; its contents are not trusted.

Credentials and endpoints come from the environment or fsspec's configuration. Reads are bounded by
the listed size and verified where a digest is known.
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
# Puts are atomic on these protocols; elsewhere a temporary file is written and renamed.
_WHOLE_PUTS: Final = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"})
_CONDITIONAL_PUTS: Final = frozenset({"s3", "s3a"})
_LOST_RACE: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412"})
# In order of preference: an entity tag changes with the content, a time with every write.
_STAMPS: Final = ("ETag", "etag", "md5Hash", "generation", "mtime", "LastModified", "last_modified")
_LAST_STAMPS: Final = ("updated", "modified", "created")
_LAST_SECOND: Final = 2**63 / 1e9
_TIMES: Final = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")


@dataclass(frozen=True, slots=True)
class Entry:
    """Listing entry of one file."""

    size: int
    """Bytes."""
    stamp: str
    """Version marker that changes with the content: an entity tag or a time."""
    is_plain: bool = True
    """Whether it is a regular file, not a link or device."""
    written_s: float | None = None
    """Modification time, Unix s; None if the file system does not report it."""


class RemoteFolder:
    """Files below an address. Pickles as the address alone, so no connection crosses processes."""

    def __init__(self, address: Address) -> None:
        self.address = address

    def __reduce__(self) -> tuple[type["RemoteFolder"], tuple[Address]]:
        return type(self), (self.address,)

    @cached_property
    def _fs(self) -> Any:
        # Imported lazily: it is slow, and commands on local folders do not need it.
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
        """List every file below a subfolder in one recursive call, by name relative to this folder.

        A missing folder counts as empty.
        """
        with _as_os_error(f"{self.address}/{below}"):
            try:
                infos = self._fs.find(f"{self._root}/{below}", detail=True)
            except FileNotFoundError:
                return {}
        prefix = self._root + "/"
        return {
            name.removeprefix(prefix): _entry(info)
            for name, info in sorted(infos.items())
            if name.startswith(prefix) and info["type"] != "directory"
        }

    def entry(self, name: str) -> Entry | None:
        """Return the current entry of one file, or None if it does not exist."""
        with _as_os_error(f"{self.address}/{name}"):
            try:
                info = self._fs.info(f"{self._root}/{name}")
            except FileNotFoundError:
                return None
        return None if info["type"] == "directory" else _entry(info)

    def pieces(self, name: str, size: int) -> Iterator[bytes]:
        """Yield a file's bytes in chunks of at most 16 MiB, never more than the listed size.

        Raises `OSError` if it cannot be read, or its size has changed.
        """
        where = f"{self.address}/{name}"
        for start in range(0, size, _PIECE):
            stop = min(start + _PIECE, size)
            # Asking for one extra byte at the end reveals a file that has grown.
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
        """Download a file atomically; raise `StoreError` if its digest differs from a given one."""
        total = hashlib.sha256()

        def write(stream: BinaryIO) -> None:
            for piece in self.pieces(name, entry.size):
                total.update(piece)
                stream.write(piece)
            if sha256 is not None and total.hexdigest() != sha256:
                raise StoreError(
                    f"{self.address}/{name}: has sha256 {total.hexdigest()}, its record says "
                    f"{sha256}; it was damaged there. Remove that record "
                    "(processed/records/…), and run again to rebuild it"
                )

        atomic_write(target, write)

    def put(self, name: str, path: Path) -> None:
        """Upload a local file atomically."""
        with _as_os_error(f"{self.address}/{name}"):
            self._put(name, lambda target: self._fs.put_file(str(path), target))

    def put_if_unchanged(self, name: str, content: bytes, stamp: str | None) -> None:
        """Write a small file unless another writer changed it since it had the stamp.

        Without a stamp it must not exist. Raises `ChangedMeanwhileError` if the stamp no longer
        matches.

        Notes
        -----
        On S3 the server compares and writes in one step. Elsewhere the comparison happens here just
        before the write, so two simultaneous writers can overwrite each other.
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
        """Remove a file; a missing file is not an error."""
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
    # A file system without tags and times leaves only the size to compare.
    known = (info[name] for name in (*_STAMPS, *_LAST_STAMPS) if info.get(name) is not None)
    stamp = next(known, "")
    if isinstance(stamp, datetime):
        # Some file systems return a number from a listing but a date for a single file.
        stamp = stamp.timestamp()
    size = _size(info.get("size"))
    is_plain = info["type"] == "file" and not info.get("islink") and size is not None
    # Clocks of file systems are coarse; the inode distinguishes a file renamed over another.
    written = next((info[name] for name in _TIMES if info.get(name) is not None), None)
    return Entry(size or 0, f"{stamp}{info.get('ino', '')}", is_plain, _seconds(written))


def _size(value: object) -> int | None:
    """Return a valid size in bytes, else None: a negative one would defeat every limit."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        return None
    return value


def _seconds(time: object) -> float | None:
    """Convert a file system's time (a date, a number or ISO text) to Unix seconds."""
    if isinstance(time, str):
        try:
            time = datetime.fromisoformat(time)
        except ValueError:
            return None
    if isinstance(time, datetime):
        # A naive time is UTC in object stores and fsspec.
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    # NaN does not compare, and some file systems report an unknown time as 0.
    if not isinstance(time, int | float) or not 0 < time < _LAST_SECOND:
        return None
    return float(time)


def _lost_race(refused: OSError) -> bool:
    response = getattr(refused.__cause__, "response", None) or {}
    code = str(response.get("Error", {}).get("Code", ""))
    return code in _LOST_RACE or isinstance(refused, FileExistsError)


@contextlib.contextmanager
def _as_os_error(where: str) -> Iterator[None]:
    """Convert any exception of a backend to an ``OSError`` that names the file."""
    try:
        yield
    except PipelineError:
        raise
    except OSError as fault:
        if where in str(fault):
            raise
        # The errno selects the subclass: FileNotFoundError stays one.
        number = fault.errno if fault.errno is not None else errno.EIO
        raise OSError(number, str(fault.strerror or fault), where) from fault
    except Exception as fault:
        raise OSError(errno.EIO, f"{type(fault).__name__}: {fault}", where) from fault

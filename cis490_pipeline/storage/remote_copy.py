"""Local copy of a remote data folder; a marker file at its root holds the remote address.

Missing files are fetched on first read and verified against the SHA-256 in a stage's record or a
manifest. Remote objects carry their digest in their name (``report.<sha256>.html``) and are never
replaced, so a record always matches its files.
"""

import hashlib
import os
import re
from pathlib import Path, PurePosixPath
from typing import Final, Self

import msgspec

from cis490_pipeline.domain import Address
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.storage.files import atomic_write
from cis490_pipeline.storage.json_text import decode_json
from cis490_pipeline.storage.remote_folder import RemoteFolder

MARKER: Final = "origin.json"
RECORDS: Final = "processed/records"
FOLDERS: Final = ("processed", "artifacts", "reports")
"""Subfolders of a data folder that stages write to."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_OBJECT: Final = re.compile(r"(?P<stem>.*[^/])\.(?P<sha256>[0-9a-f]{64})(?P<suffix>(\.[^./]+)?)")


class _Marker(msgspec.Struct):
    address: str


class _Named(msgspec.Struct):
    """The part of a stage's record that lists its files."""

    files: dict[str, int]
    sha256: dict[str, str] = {}


class RemoteCopy:
    """A remote data folder and its local copy."""

    def __init__(self, address: Address, root: Path) -> None:
        self.folder = RemoteFolder(address)
        self.root = root

    @classmethod
    def below(cls, address: Address, cache: Path) -> Self:
        """Open the copy of an address in a cache folder, creating it if needed.

        Raises `DatasetError` if the folder is a copy of another address.
        """
        root = cache.absolute() / hashlib.sha256(str(address).encode()).hexdigest()[:16]
        marker = root / MARKER
        if not marker.exists():
            text = msgspec.json.encode(_Marker(str(address)))
            atomic_write(marker, lambda stream: stream.write(text))
        elif _marked(marker) != str(address):
            raise DatasetError(
                f"{marker}: is the copy of another address than {address}; use another --cache"
            )
        return cls(address, root)

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Return the origin of the copy that contains a file, or None."""
        for root in path.absolute().parents:
            marker = root / MARKER
            if marker.is_file():
                return cls(Address.parse(_marked(marker)), root)
        return None

    def fetch(self, name: str, size: int, sha256: str) -> None:
        """Fetch a file into the copy unless it exists there.

        Raises `DatasetError` if it is missing at the origin or has another size there, and
        `StoreError` if it has another digest.
        """
        path = self.root / name
        if path.exists():
            return
        stored = object_name(name, sha256)
        entry = self.folder.entry(stored)
        if entry is None or entry.size != size:
            state = "is not there" if entry is None else f"has {entry.size} bytes"
            raise DatasetError(
                f"{self.folder.address}/{stored}: {state}, its record says {size} bytes. Remove "
                f"that record ({RECORDS}/…) there, and run again to rebuild it"
            )
        self.folder.fetch(stored, path, entry=entry, sha256=sha256)
        # Dated before any record: it was verified just now and need not be hashed again.
        made_ns = (self.root / MARKER).stat().st_mtime_ns
        os.utime(path, ns=(made_ns, made_ns))


def _marked(marker: Path) -> str:
    """Read the address in a copy's marker file."""
    try:
        return decode_json(marker.read_bytes(), _Marker).address
    except msgspec.DecodeError as wrong:
        raise DatasetError(
            f"{marker}: no marker of a copy: {wrong}; use another --cache, or remove this one"
        ) from wrong


def object_name(name: str, sha256: str) -> str:
    """Return the remote object name of one version of a file."""
    path = PurePosixPath(name)
    return path.with_name(f"{path.stem}.{sha256}{path.suffix}").as_posix()


def split_object_name(name: str) -> tuple[str, str] | None:
    """Split an object name into file name and SHA-256; None if it does not have that form."""
    match = _OBJECT.fullmatch(name)
    if match is None:
        return None
    file = f"{match['stem']}{match['suffix']}"
    return (file, match["sha256"]) if is_safe_name(file) else None


def is_safe_name(name: str) -> bool:
    """Whether a file name in a remote record stays inside the copy and outside its records."""
    path = PurePosixPath(name)
    parts = path.parts
    return (
        name.isprintable()
        and "\\" not in name
        and len(parts) > 1
        and parts[0] in FOLDERS
        and ".." not in parts
        and parts[:2] != ("processed", "records")
        # pathlib drops // and /./, which would give one file two names.
        and path.as_posix() == name
    )


def is_sha256(text: str) -> bool:
    """Whether a text is a SHA-256 in lower-case hex."""
    return _SHA256.fullmatch(text) is not None


def fetch_file(path: Path, sha256: str) -> Path:
    """Return a file's path, fetching the file first if it belongs to a copy and is missing.

    Only a fetched file is checked against its digest. Fails as `RemoteCopy.fetch`.
    """
    if path.exists() or (copy := RemoteCopy.of(path)) is None:
        return path
    name = path.absolute().relative_to(copy.root).as_posix()
    for record in sorted((copy.root / RECORDS).rglob("*.json")):
        try:
            named = decode_json(record.read_bytes(), _Named)
        except msgspec.DecodeError as wrong:
            raise DatasetError(f"{record}: no record: {wrong}; remove it, and run again") from wrong
        if named.sha256.get(name) == sha256:
            copy.fetch(name, named.files[name], sha256)
            break
    return path

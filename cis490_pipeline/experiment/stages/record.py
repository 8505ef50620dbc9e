"""What a stage leaves behind beside its files: a record of what was made, from what."""

from pathlib import Path

import msgspec

from cis490_pipeline.storage.files import file_sha256
from cis490_pipeline.storage.json_text import decode_json

Metrics = dict[str, int | float | str | bool | None]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a stage made, from what, and the numbers a person wants to see."""

    key: str
    inputs: dict[str, str]
    """Digest of everything the artefact depends on, by name."""
    digest: str
    """Digest of the artefact's content."""
    files: dict[str, int]
    """Files of the artefact, relative to the data folder, with their sizes in bytes."""
    numbers: Metrics
    seconds: float
    commit: str = ""
    """Of the code that made it, with ``+dirty`` if that was changed; empty in older records."""
    sha256: dict[str, str] = {}
    """SHA-256 of the same files."""
    parts: dict[str, str] = {}
    """Digests of parts that other artefacts are made of, by name; a dataset's by variant."""


def encoded(record: Record) -> bytes:
    """Return a record as sorted, indented JSON."""
    return msgspec.json.format(msgspec.json.encode(record, order="sorted"), indent=1)


def read_record(path: Path) -> Record | None:
    """Return the record at a path; None if there is none, or what is there is no record."""
    try:
        return decode_json(path.read_bytes(), Record)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def sound_files(root: Path, record: Record, record_path: Path) -> set[str]:
    """Return names of the record's files that are there, and whose content is still the recorded.

    Parameters
    ----------
    root : data folder that the names are relative to.
    record_path : of the record. Only what was touched since it was written is read again: the grids
        of a lab are 30 GB.
    """
    recorded_ns = record_path.stat().st_mtime_ns
    sound = set()
    for name, size in record.files.items():
        path = root / name
        try:
            stat = path.stat()
            untouched = stat.st_mtime_ns < recorded_ns
            if stat.st_size == size and (
                untouched or record.sha256.get(name) in (None, file_sha256(path))
            ):
                sound.add(name)
        except OSError:
            continue
    return sound

"""Sweep journal: finished verdicts on disk, from which a killed sweep resumes.

A header line is followed by one JSON line per verdict. Lines are appended and synced per batch: a
power cut loses at most the current batch, and a torn line is truncated before anything is added.
A journal written for another store, rule set or schema is discarded.
"""

import os
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec
import polars as pl
from filelock import FileLock

from cis490_pipeline.storage.files import naming, write_whole
from cis490_pipeline.store.verdicts.validate import VerdictRow

_CHUNK: Final = 1024
_DECODER: Final = msgspec.json.Decoder(VerdictRow)


class SweepJournal:
    """Journal of a sweep; one process has it open at a time, others wait."""

    def __init__(self, path: Path, schema: dict[str, pl.DataType], about: dict[str, str]) -> None:
        """Configure a journal without opening it; the schema has a verdict's columns.

        ``about`` gives further inputs of the verdicts (store, rules); a journal with others is
        discarded.
        """
        self._path = path
        self._schema = schema
        self._about = {**about, "columns": ",".join(schema)}
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        self._file: FileIO | None = None

    def __enter__(self) -> Self:
        """Wait for the lock and open the file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            self._path.touch()
            # Unbuffered: appended data reaches the operating system at once.
            self._file = self._path.open("r+b", buffering=0)
        except OSError:
            self._lock.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        """Close the file and keep it."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._lock.release()

    def begin(self, checked_at: str) -> str:
        """Resume an interrupted sweep and return its start time, or begin one at the given time."""
        file = self._opened()
        file.seek(0)
        try:
            head = _DECODER.decode(file.readline(1 << 16))
        except ValueError:
            head = {}
        began = head.pop("checked_at", None)
        if head == self._about and isinstance(began, str):
            return began
        file.seek(0)
        file.truncate()
        self.append([{**self._about, "checked_at": checked_at}])
        return checked_at

    def finished(self) -> list[pl.DataFrame]:
        """Return the recorded verdicts in chunks, and truncate a torn last line."""
        file = self._opened()
        file.seek(0)
        sound = len(file.readline(1 << 16))
        frames = [pl.DataFrame(schema=self._schema)]
        rows: list[VerdictRow] = []
        with self._path.open("rb") as lines:
            lines.seek(sound)
            for row, size in _whole_rows(lines, self._schema.keys()):
                sound += size
                rows.append(row)
                if len(rows) == _CHUNK:
                    frames += self._framed(rows)
                    rows = []
        frames += self._framed(rows)
        file.truncate(sound)
        return frames

    def append(self, rows: Iterable[VerdictRow]) -> None:
        """Append verdicts; they are synced to disk when this returns."""
        file = self._opened()
        file.seek(0, os.SEEK_END)
        lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
        with naming(self._path, "cannot be written"):
            write_whole(file.fileno(), lines)
            os.fsync(file.fileno())

    def _framed(self, rows: list[VerdictRow]) -> list[pl.DataFrame]:
        try:
            return [pl.DataFrame(rows, schema=self._schema)]
        except (TypeError, pl.exceptions.PolarsError):
            # The file was modified; episodes without a verdict are read again.
            return []

    def _opened(self) -> FileIO:
        assert self._file is not None, "used outside its with block"
        return self._file


def _whole_rows(lines: BinaryIO, columns: Iterable[str]) -> Iterator[tuple[VerdictRow, int]]:
    wanted = set(columns)
    for line in lines:
        try:
            row = _DECODER.decode(line)
        except ValueError:
            return
        if not line.endswith(b"\n") or row.keys() != wanted:
            return
        yield row, len(line)

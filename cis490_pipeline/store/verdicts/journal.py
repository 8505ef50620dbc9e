"""What a sweep has finished so far, on disk, so that a killed one goes on where it was.

One line of JSON for each verdict, after a line that says whose and when. Lines are appended and
flushed to the disk a batch at a time: a power cut loses at most the batch under way, and what it
tore off is cut away before anything is added. A journal of another store, of other rules or of
other columns is not believed, and begun anew.
"""

import os
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import msgspec
import polars as pl
from filelock import FileLock

from cis490_pipeline.storage.files import naming, write_whole

_CHUNK: Final = 1024
_DECODER: Final = msgspec.json.Decoder(dict[str, Any])


class SweepJournal:
    """An open journal; at most one process has it open, another waits."""

    def __init__(self, path: Path, schema: dict[str, pl.DataType], about: dict[str, str]) -> None:
        """Name a journal.

        Parameters
        ----------
        path : the file, made if missing.
        schema : columns of a verdict.
        about : what its verdicts rest on besides the episodes (store, rules); it must not change.
        """
        self._path = path
        self._schema = schema
        self._about = {**about, "columns": ",".join(schema)}
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        self._file: FileIO | None = None

    def __enter__(self) -> Self:
        """Wait for the file, and open it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            self._path.touch()
            # No buffer of our own: what was appended is in the system's hands at once.
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
        """Close the file; it stays."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._lock.release()

    def begin(self, checked_at: str) -> str:
        """Go on with the sweep that was cut off, or begin one.

        Parameters
        ----------
        checked_at : the time to note if one begins.

        Returns
        -------
        str
            The time its sweep began: the earlier one if it goes on.
        """
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
        """Return the verdicts noted so far, in pieces, and cut off what a kill tore."""
        file = self._opened()
        file.seek(0)
        sound = len(file.readline(1 << 16))
        frames = [pl.DataFrame(schema=self._schema)]
        rows: list[dict[str, Any]] = []
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

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Note verdicts; when this returns, they are on the disk."""
        file = self._opened()
        file.seek(0, os.SEEK_END)
        lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
        with naming(self._path, "cannot be written"):
            write_whole(file.fileno(), lines)
            os.fsync(file.fileno())

    def _framed(self, rows: list[dict[str, Any]]) -> list[pl.DataFrame]:
        try:
            return [pl.DataFrame(rows, schema=self._schema)]
        except (TypeError, pl.exceptions.PolarsError):
            # Somebody wrote into it. What is not taken over is read again.
            return []

    def _opened(self) -> FileIO:
        assert self._file is not None, "used outside its with block"
        return self._file


def _whole_rows(lines: BinaryIO, columns: Iterable[str]) -> Iterator[tuple[dict[str, Any], int]]:
    wanted = set(columns)
    for line in lines:
        try:
            row = _DECODER.decode(line)
        except ValueError:
            return
        if not line.endswith(b"\n") or row.keys() != wanted:
            return
        yield row, len(line)

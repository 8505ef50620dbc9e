"""The state on disk: one line of JSON for each event, so that a restart shows the same picture.

Lines are appended as events come. When the file has grown to twice what is true, it is written
anew, whole, under another name and renamed. A power cut may lose the last moments; what it tore
off is cut away before anything is added.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, Final

import msgspec
from filelock import FileLock, Timeout

from cis490_pipeline.dashboard.state import Feed, State
from cis490_pipeline.errors import ConfigError
from cis490_pipeline.events.contract import decode

FORMAT: Final = 1
COMPACT_FROM_BYTES: Final = 8 << 20
"""A smaller file is left as it is."""
_MAX_LINE: Final = 8 << 20


class _Head(msgspec.Struct, kw_only=True):
    dashboard_state: int
    n_kept: int = 0
    """How many of the lines below were written with this one; the others came later."""
    feeds: dict[str, Feed] = {}


class Journal:
    """An open file of the state; at most one process has it open."""

    def __init__(self, path: Path, state: State) -> None:
        """Open the file, made if missing, and fill the state from it.

        Parameters
        ----------
        path : the file.
        state : is filled with what the file holds.

        Raises
        ------
        ConfigError
            If another process has it open, or it is not a dashboard's.
        """
        self.path = path
        self.n_skipped = 0
        """Lines that do not keep today's contract, left out at the start."""
        self._state = state
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(
                f"{path}: another dashboard keeps its state there; stop that one, or name another "
                "file with --state"
            ) from None
        try:
            self._read()
            self._compact()
        except BaseException:
            self._lock.release()
            raise

    def append(self, encoded: Iterable[bytes]) -> None:
        """Add events; they are in the system's hands when this returns."""
        content = b"".join(line + b"\n" for line in encoded)
        self._file.write(content)
        self._size += len(content)
        if self._size > max(COMPACT_FROM_BYTES, 2 * self._state.n_bytes()):
            self._file.close()
            self._compact()

    def close(self) -> None:
        """Write the state once more, with its counts, and let go of the file."""
        self._file.close()
        self._compact()
        self._file.close()
        self._lock.release()

    def _read(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb") as stream:
            first = stream.readline(_MAX_LINE)
            if not first:
                return
            try:
                head = msgspec.json.decode(first, type=_Head)
            except msgspec.DecodeError:
                head = _Head(dashboard_state=0)
            if head.dashboard_state != FORMAT:
                raise ConfigError(
                    f"{self.path}: its first line is not that of a dashboard's state (format "
                    f"{FORMAT}); move it away, or name another file with --state"
                )
            written_ms = self.path.stat().st_mtime_ns // 1_000_000
            for _ in range(head.n_kept):
                self._take(stream.readline(_MAX_LINE), written_ms)
            # What was counted while these lines came, not that they were read again.
            self._state.feeds.update(
                {name: feed for name, feed in head.feeds.items() if name in self._state.feeds}
            )
            while line := stream.readline(_MAX_LINE):
                self._take(line, written_ms)

    def _take(self, line: bytes, written_ms: int) -> None:
        try:
            events = decode(line) if line.endswith(b"\n") else []
        except msgspec.DecodeError:
            events = []
        if not events:
            self.n_skipped += 1
        for event in events:
            self._state.apply(event, written_ms)

    def _compact(self) -> None:
        events = self._state.snapshot()
        head = _Head(dashboard_state=FORMAT, n_kept=len(events), feeds=self._state.feeds)
        lines = [msgspec.json.encode(head), *events]
        # Not store.files: that loads a data frame library, and this runs on small devices.
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        with temporary.open("wb") as stream:
            stream.write(b"\n".join(lines) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(self.path)
        # No buffer of our own: what was appended survives a crash of this process.
        self._file: IO[Any] = self.path.open("ab", buffering=0)
        self._size = self.path.stat().st_size

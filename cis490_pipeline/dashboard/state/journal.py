"""Journal of the dashboard's state: one JSON line per event, replayed at a restart.

Events are written before they are acknowledged, so that a crash of the process loses none. Within a
second they are synced to disk; a line torn by a power cut is truncated at the next start. When the
file has grown to twice the size of the state, it is rewritten beside itself and renamed, with the
events that arrived meanwhile appended.
"""

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
from filelock import FileLock, Timeout

from cis490_pipeline.dashboard.state import state_file
from cis490_pipeline.dashboard.state.current import State
from cis490_pipeline.dashboard.state.state_file import FORMAT, Head, Replacement
from cis490_pipeline.errors import ConfigError, StateNotKeptError
from cis490_pipeline.events.contract import decode
from cis490_pipeline.storage.files import write_whole

COMPACT_FROM_BYTES: Final = 8 << 20
"""Smaller files are not rewritten."""
SYNC_S: Final = 0.5
"""Interval between syncs to disk, s."""
AGAIN_S: Final = 30.0
"""Pause after a failed rewrite, s: a rewrite takes disk space that events need."""
_FIRST_LINE: Final = msgspec.json.encode(Head(dashboard_state=FORMAT)) + b"\n"
_PROBE: Final = b"\n" * 4096
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Journal:
    """Open state file, locked against other processes."""

    def __init__(self, path: Path, state: State, *, fresh: bool = False) -> None:
        """Open the file, creating it if missing, and restore the state from it.

        With ``fresh`` it is not restored; the file is unchanged until ``reset``. Raises
        `ConfigError` if another process has it open, or it is not a dashboard's.
        """
        self.path = path
        self.n_skipped = 0
        """Lines without an event of the current contract, skipped at the start."""
        self._state = state
        self._write_fault: str | None = None
        self._disk_fault: str | None = None
        self._unsynced = False
        self._renamed = False
        self._not_before_s = 0.0
        self._rewritten = 0
        self._left_alone = fresh
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
            state_file.remove_leftovers(path)
            self._file = state_file.open_regular(path)
            try:
                self._load(fresh=fresh)
            except BaseException:
                os.close(self._file)
                raise
        except BaseException:
            self._lock.release()
            raise

    @property
    def fault(self) -> str | None:
        """Current fault of the file, as text."""
        return self._write_fault or self._disk_fault

    def append(self, encoded: Iterable[bytes]) -> None:
        """Append events; after this a crash of the process does not lose them.

        Raises `StateNotKeptError` if they cannot be written; then the file holds none of them.
        """
        content = b"".join(line + b"\n" for line in encoded)
        if not content:
            return
        if self._size == 0:
            content = _FIRST_LINE + content
        try:
            self._write(content)
        except OSError as error:
            self._write_fault = f"state is not kept, publishing is refused: {error.strerror}"
            raise StateNotKeptError(
                f"{self.path}: the events could not be written ({error.strerror}), so none was "
                "taken; make room, and publish them again",
                no_room=error.errno in _NO_ROOM,
            ) from error
        self._size += len(content)
        self._unsynced = True
        self._write_fault = None

    async def maintain(self, stop: asyncio.Event) -> None:
        """Sync appended events and rewrite a grown file, until stopped."""
        rewriting: asyncio.Task[None] | None = None
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SYNC_S):
                    await stop.wait()
            self._probe()
            if rewriting is None and self._is_due():
                rewriting = asyncio.create_task(self._rewrite())
            await self._sync()
            if rewriting is not None and rewriting.done():
                rewriting.result()
                rewriting = None
        if rewriting is not None:
            await rewriting

    def reset(self) -> None:
        """Rewrite the file with the current state only.

        Raises `StateNotKeptError` if it cannot be rewritten; then it is unchanged.
        """
        self._left_alone = False
        try:
            self._take_over(state_file.write_beside(self.path, self._whole()), self._size)
        except OSError as error:
            raise StateNotKeptError(
                f"{self.path}: cannot be rewritten ({error.strerror}); make room, or name "
                "another file with --state",
                no_room=error.errno in _NO_ROOM,
            ) from error

    def close(self) -> None:
        """Rewrite the file with the state and its counters, and close it.

        Raises `StateNotKeptError` if there is no room; the file still holds every event.
        """
        try:
            if not self._left_alone:
                self.reset()
                state_file.sync_folder(self.path)
        finally:
            os.close(self._file)
            self._lock.release()

    def _load(self, *, fresh: bool) -> None:
        reader = state_file.StateReader(self._file, self.path)
        written_ms = os.fstat(self._file).st_mtime_ns // 1_000_000
        counted = False
        for n, line in enumerate(reader.lines()):
            if n == reader.head.n_kept:
                counted = self._count(reader.head)
            if not fresh:
                self._take(line, written_ms)
        if not counted and not fresh:
            self._count(reader.head)
        self._size = reader.sound_bytes
        if reader.n_bytes > self._size:
            os.ftruncate(self._file, self._size)
        if self._size == 0:
            # Without room now, it is written with the first event.
            with contextlib.suppress(OSError):
                self._write(_FIRST_LINE)
                self._size = len(_FIRST_LINE)

    def _count(self, head: Head) -> bool:
        # Counters of when these lines arrived, not of reading them now.
        self._state.feeds.update(
            {name: feed for name, feed in head.feeds.items() if name in self._state.feeds}
        )
        return True

    def _take(self, line: bytes, written_ms: int) -> None:
        if line == b"\n":
            return
        try:
            events = decode(line) if line.endswith(b"\n") else []
        except msgspec.DecodeError:
            events = []
        if not events:
            self.n_skipped += 1
        for event in events:
            self._state.apply(event, written_ms)

    def _write(self, content: bytes) -> None:
        """Append, or leave the file unchanged."""
        if self._size + len(content) > state_file.MAX_BYTES:
            raise OSError(errno.EFBIG, f"it would have over {state_file.MAX_BYTES:,} bytes")
        if self._write_fault is not None:
            # The failed write may have left a part.
            os.ftruncate(self._file, self._size)
        try:
            write_whole(self._file, content)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise

    def _probe(self) -> None:
        """Clear a write fault once a write succeeds again."""
        if self._write_fault is None:
            return
        with contextlib.suppress(OSError):
            self._write(_PROBE)
            os.ftruncate(self._file, self._size)
            self._write_fault = None

    async def _sync(self) -> None:
        if not self._unsynced:
            return
        self._unsynced, renamed, self._renamed = False, self._renamed, False
        try:
            await asyncio.to_thread(_sync, os.dup(self._file), self.path if renamed else None)
        except OSError as error:
            # The kernel drops pages it could not write; a rewrite of the whole state repairs that.
            self._disk_fault = f"a power cut would lose the state: {error.strerror}"

    def _is_due(self) -> bool:
        grown = self._size > max(
            COMPACT_FROM_BYTES, 2 * max(self._state.n_bytes(), self._rewritten)
        )
        return (grown or self._disk_fault is not None) and time.monotonic() >= self._not_before_s

    async def _rewrite(self) -> None:
        begun = self._size
        try:
            made = await asyncio.to_thread(state_file.write_beside, self.path, self._whole())
            self._take_over(made, begun)
        except OSError as error:
            self._not_before_s = time.monotonic() + AGAIN_S
            self._disk_fault = f"the state's file cannot be rewritten: {error.strerror}"

    def _whole(self) -> list[bytes]:
        events = self._state.lines()
        head = Head(dashboard_state=FORMAT, n_kept=len(events), feeds=self._state.feeds)
        return [msgspec.json.encode(head), *events]

    def _take_over(self, made: Replacement, begun: int) -> None:
        """Replace the file by a rewritten one, plus what was appended since."""
        try:
            made.add_from(self._file, begun, self._size)
            made.path.replace(self.path)
        except OSError:
            made.discard()
            raise
        os.close(self._file)
        self._file = made.descriptor
        self._size = self._rewritten = os.fstat(self._file).st_size
        self._unsynced = self._renamed = True
        self._write_fault = self._disk_fault = None


def _sync(descriptor: int, renamed: Path | None) -> None:
    try:
        os.fsync(descriptor)
        if renamed is not None:
            state_file.sync_folder(renamed)
    finally:
        os.close(descriptor)

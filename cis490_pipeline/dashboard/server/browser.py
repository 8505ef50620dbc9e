"""Output queue of one event stream, in bounded memory.

A browser that keeps up gets the frames that all others get. For a slow one, events are merged by
key, so that it gets the newest of each; if even that grows too large, the queue is dropped and the
browser gets a new snapshot of the state.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

from cis490_pipeline.dashboard.server.frames import Frame, batch
from cis490_pipeline.dashboard.state.retention import Key

MAX_FRAMES: Final = 4
"""Frames that wait unmerged, at most."""
MAX_PENDING: Final = 4_096
MAX_PENDING_BYTES: Final = 1 << 20


class Browser:
    """Output queue of one event stream."""

    def __init__(self, epoch: str) -> None:
        self._epoch = epoch
        self._wake = asyncio.Event()
        self._frames: list[Frame] = []
        self._merged: dict[Key, bytes] = {}
        self._merged_bytes = 0
        self._seq = 0
        self._status: bytes | None = None
        self.closed = False
        self.needs_snapshot = False
        self.n_overflows = 0

    def offer(self, frame: Frame) -> None:
        """Queue a frame."""
        self._seq = frame.seq
        if not self.needs_snapshot:
            self._frames.append(frame)
            if self._merged or len(self._frames) > MAX_FRAMES:
                self._merge()
        self._wake.set()

    def offer_status(self, status: bytes) -> None:
        """Queue a status message; it replaces one that waits."""
        self._status = status
        self._wake.set()

    def close(self) -> None:
        """Ask the writer to end the stream."""
        self.closed = True
        self._wake.set()

    async def wait(self) -> None:
        """Wait until there is something to write or the stream should end."""
        await self._wake.wait()
        self._wake.clear()

    def take(self) -> Iterator[bytes]:
        """Yield all waiting messages."""
        if self._merged:
            events = self._merged
            self._merged, self._merged_bytes = {}, 0
            yield batch(events.values(), id_=f"{self._epoch}.{self._seq}")
        frames, self._frames = self._frames, []
        if frames:
            yield b"".join(frame.message for frame in frames)
        status, self._status = self._status, None
        if status is not None:
            yield status

    def _merge(self) -> None:
        for frame in self._frames:
            for key, event in frame.events.items():
                # Move to the end: the order of events may matter.
                self._merged_bytes += len(event) - len(self._merged.pop(key, b""))
                self._merged[key] = event
        self._frames.clear()
        if len(self._merged) > MAX_PENDING or self._merged_bytes > MAX_PENDING_BYTES:
            self._merged, self._merged_bytes = {}, 0
            self.needs_snapshot = True
            self.n_overflows += 1

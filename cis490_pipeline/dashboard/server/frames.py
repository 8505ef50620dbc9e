"""Frames of the event stream: what arrived within one tick, written once for all browsers."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from cis490_pipeline.dashboard.state.retention import Key

MAX_RING_FRAMES: Final = 1_200
"""A minute of ticks."""
MAX_RING_BYTES: Final = 4 << 20
PIECE_BYTES: Final = 64 << 10
"""A snapshot goes out in pieces of about this size, so that no browser holds a large copy."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The events of one tick, and their message as it goes out."""

    seq: int
    events: dict[Key, bytes]
    message: bytes


def message(data: bytes, *, event: str | None = None, id_: str | None = None) -> bytes:
    """One server-sent event; ``data`` is JSON, which has no line break outside its strings."""
    head = b""
    if event is not None:
        head += b"event: %s\n" % event.encode()
    if id_ is not None:
        head += b"id: %s\n" % id_.encode()
    return b"%sdata: %s\n\n" % (head, data)


def batch(events: Iterable[bytes], *, id_: str | None = None) -> bytes:
    """Return a message with a list of events."""
    return message(b"[" + b",".join(events) + b"]", id_=id_)


def pieces(events: list[bytes]) -> Iterator[bytes]:
    """Yield messages of about ``PIECE_BYTES`` with all events, in order."""
    waiting: list[bytes] = []
    size = 0
    for event in events:
        waiting.append(event)
        size += len(event)
        if size >= PIECE_BYTES:
            yield batch(waiting)
            waiting, size = [], 0
    if waiting:
        yield batch(waiting)


class Ring:
    """The last frames, for browsers that come back."""

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._bytes = 0

    def append(self, frame: Frame) -> None:
        """Add a frame; old ones go."""
        self._frames.append(frame)
        self._bytes += len(frame.message)
        while len(self._frames) > MAX_RING_FRAMES or self._bytes > MAX_RING_BYTES:
            self._bytes -= len(self._frames.popleft().message)

    def since(self, seq: int, newest: int) -> list[Frame] | None:
        """Return the frames after ``seq``; ``None`` if some of them are gone or it never was."""
        if seq > newest:
            return None
        if seq == newest:
            return []
        if not self._frames or self._frames[0].seq > seq + 1:
            return None
        return [frame for frame in self._frames if frame.seq > seq]

"""Frames of the event stream: the events of one tick, encoded once for all browsers."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from cis490_pipeline.dashboard.state.retention import Key

MAX_RING_FRAMES: Final = 1_200
"""One minute of ticks."""
MAX_RING_BYTES: Final = 4 << 20
PIECE_BYTES: Final = 64 << 10
"""Approximate size of the messages of a snapshot, which bounds the buffer per stream."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Events of one tick, and their encoded message."""

    seq: int
    events: dict[Key, bytes]
    message: bytes


def message(data: bytes, *, event: str | None = None, id_: str | None = None) -> bytes:
    """Encode a server-sent event; ``data`` is JSON on one line."""
    head = b""
    if event is not None:
        head += b"event: %s\n" % event.encode()
    if id_ is not None:
        head += b"id: %s\n" % id_.encode()
    return b"%sdata: %s\n\n" % (head, data)


def batch(events: Iterable[bytes], *, id_: str | None = None) -> bytes:
    """Encode a list of events as one message."""
    return message(b"[" + b",".join(events) + b"]", id_=id_)


def pieces(events: list[bytes]) -> Iterator[bytes]:
    """Encode events as messages of about ``PIECE_BYTES``, in order."""
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
    """Ring of recent frames, for browsers that reconnect."""

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._bytes = 0

    def append(self, frame: Frame) -> None:
        """Add a frame, dropping old ones."""
        self._frames.append(frame)
        self._bytes += len(frame.message)
        while len(self._frames) > MAX_RING_FRAMES or self._bytes > MAX_RING_BYTES:
            self._bytes -= len(self._frames.popleft().message)

    def since(self, seq: int, newest: int) -> list[Frame] | None:
        """Return the frames after ``seq``; ``None`` if some were dropped or ``seq`` is unknown."""
        if seq > newest:
            return None
        if seq == newest:
            return []
        if not self._frames or self._frames[0].seq > seq + 1:
            return None
        return [frame for frame in self._frames if frame.seq > seq]

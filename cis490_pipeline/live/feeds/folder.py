"""An episode's folder while it grows, and an archive that is complete."""

import io
import os
import time
from pathlib import Path
from typing import BinaryIO

from cis490_pipeline.domain import Source
from cis490_pipeline.live.feeds.feed import POLL_S, Arrival
from cis490_pipeline.live.feeds.merge import SourceLines, merged
from cis490_pipeline.storage.files import open_regular
from cis490_pipeline.store.archive.unpack import DONE, LABELS, read_members
from cis490_pipeline.store.manifest import parse_labels
from cis490_pipeline.store.receiver import ARCHIVE_SUFFIX
from cis490_pipeline.store.rows.row import RowFault

_MAX_LABEL_BYTES = 1 << 20


class GrowingFile:
    """A file that another process appends to, and may replace.

    Attributes
    ----------
    n_replaced : how often it was replaced or cut short; it is then read from its start.
    refused : why it is not read, once a link, a pipe or a device stands in its place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_replaced = 0
        self.refused: str | None = None
        self._stream: BinaryIO | None = None

    def read_more(self, n_bytes: int) -> bytes:
        """Give up to so many bytes that were appended; none if there is no file yet."""
        if self._stream is None:
            try:
                self._stream = open_regular(self.path, follow=False, buffering=0)
            except FileNotFoundError:
                return b""
            except OSError as fault:
                self.refused = f"cannot be read: {fault.strerror}"
                return b""
            self.refused = None
        elif self._was_replaced(self._stream):
            self._stream.close()
            self._stream = None
            self.n_replaced += 1
            return b""
        return self._stream.read(n_bytes) or b""

    def close(self) -> None:
        """Let go of the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _was_replaced(self, stream: BinaryIO) -> bool:
        held = os.fstat(stream.fileno())
        if held.st_size < stream.tell():
            return True
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) != (held.st_dev, held.st_ino)


class FolderFeed:
    """Rows of an episode's folder, in order of time, as they are appended to its files.

    Ends once ``done.marker`` is there and everything was read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._growing = {source: GrowingFile(folder / source.member) for source in Source}
        self._files = [SourceLines(source, file) for source, file in self._growing.items()]
        self._replaced = dict.fromkeys(Source, 0)
        self._refused: dict[Source, str | None] = dict.fromkeys(Source)
        self._ended = False

    @property
    def name(self) -> str:
        """Name of the folder: the episode's id."""
        return self.folder.resolve().name

    @property
    def ended(self) -> bool:
        """Whether the recording is complete and all of it was given."""
        return self._ended

    @property
    def pace(self) -> float:
        """1 while the folder grows; 0 for a complete one."""
        return 0.0 if (self.folder / DONE).exists() else 1.0

    def start_ns(self) -> int | None:
        """Time of the first label, if there is one."""
        try:
            with open_regular(self.folder / LABELS, follow=False) as stream:
                return _first_label_ns(stream.read(_MAX_LABEL_BYTES))
        except OSError:
            # Without a label the first row starts the time, as in a folder that has none yet.
            return None

    def poll(self, wait_s: float) -> list[Arrival]:
        """Give what was appended since the last look."""
        # Before reading: what is there once the marker is seen is all there will be.
        done = (self.folder / DONE).exists()
        arrivals = merged(self._files)
        arrivals += self._replacements()
        if not arrivals and done:
            for file in self._files:
                file.finish()
            arrivals = merged(self._files)
            self._ended = not arrivals
        elif not arrivals:
            time.sleep(min(wait_s, POLL_S))
        return arrivals

    def close(self) -> None:
        """Let go of the files."""
        for file in self._growing.values():
            file.close()

    def _replacements(self) -> list[Arrival]:
        told: list[Arrival] = []
        for lines in self._files:
            n_replaced = self._growing[lines.source].n_replaced
            if n_replaced > self._replaced[lines.source]:
                self._replaced[lines.source] = n_replaced
                lines.restart()
                problem = "was replaced or cut short, and is read from its start"
                told.append(RowFault(lines.source.member, 1, None, problem))
            refused = self._growing[lines.source].refused
            if refused != self._refused[lines.source]:
                self._refused[lines.source] = refused
                if refused is not None:
                    told.append(RowFault(lines.source.member, 1, None, refused))
        return told


class _InMemory:
    """A member's bytes."""

    def __init__(self, content: bytes) -> None:
        self._stream = io.BytesIO(content)

    def read_more(self, n_bytes: int) -> bytes:
        """Give the next bytes."""
        return self._stream.read(n_bytes)


class ArchiveFeed:
    """Rows of a complete episode, in order of time, as fast as they are taken.

    Raises
    ------
    EpisodeRejectedError
        If the archive cannot be read.
    """

    def __init__(self, path: Path) -> None:
        members = read_members(path)
        self._name = path.name.removesuffix(ARCHIVE_SUFFIX)
        self._labels = members.get(LABELS, b"")
        self._files = [
            SourceLines(source, _InMemory(members.get(source.member, b""))) for source in Source
        ]
        self._ended = False

    @property
    def name(self) -> str:
        """The episode's id."""
        return self._name

    @property
    def ended(self) -> bool:
        """Whether all rows were given."""
        return self._ended

    @property
    def pace(self) -> float:
        """0: all rows are there."""
        return 0.0

    def start_ns(self) -> int | None:
        """Time of the first label."""
        return _first_label_ns(self._labels)

    def poll(self, wait_s: float) -> list[Arrival]:
        """Give the next rows, without waiting."""
        arrivals = merged(self._files)
        if not arrivals:
            for file in self._files:
                file.finish()
            arrivals = merged(self._files)
            self._ended = not arrivals
        return arrivals

    def close(self) -> None:
        """Nothing is held but memory."""


def _first_label_ns(content: bytes) -> int | None:
    """Time of the first label; None if it cannot be read: then the first row starts the time."""
    labels, _ = parse_labels(content[: content.rfind(b"\n") + 1])
    return labels[0].t_wall_ns if labels else None

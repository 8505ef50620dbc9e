"""Feeds of recorded episodes: a folder that may still grow, and a complete archive."""

import io
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from cis490_pipeline.domain import Source
from cis490_pipeline.live.feeds.feed import POLL_S, Arrival, Feed
from cis490_pipeline.live.feeds.merge import Readable, SourceLines, merged
from cis490_pipeline.storage.files import open_regular
from cis490_pipeline.store.archive.unpack import DONE, LABELS, read_members
from cis490_pipeline.store.metadata import parse_labels
from cis490_pipeline.store.receiver import ARCHIVE_SUFFIX
from cis490_pipeline.store.rows.row import RowFault

_MAX_LABEL_BYTES = 1 << 20


class GrowingFile:
    """File that another process appends to and may replace.

    Attributes
    ----------
    n_replaced : times it was replaced or truncated; it is then read from its start.
    refused : why it is not read, such as a link, pipe or device in its place; else None.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_replaced = 0
        self.refused: str | None = None
        self._stream: BinaryIO | None = None

    def read_more(self, n_bytes: int) -> bytes:
        """Return up to ``n_bytes`` appended bytes; none if there is no file yet."""
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
        """Close the file."""
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


class _FilesFeed(Feed):
    """Rows of one file per source, in order of time."""

    def __init__(self, files: Mapping[Source, Readable]) -> None:
        super().__init__()
        self._files = [SourceLines(source, file) for source, file in files.items()]

    def _rest(self) -> list[Arrival]:
        """Return what follows the last line feeds, since the files are complete; then end."""
        for file in self._files:
            file.finish()
        arrivals = merged(self._files)
        self.ended = not arrivals
        return arrivals


class FolderFeed(_FilesFeed):
    """Rows of an episode's folder in order of time, as they are appended to its files.

    Ends once ``done.marker`` exists and everything was read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._growing = {source: GrowingFile(folder / source.member) for source in Source}
        super().__init__(self._growing)
        self._replaced = dict.fromkeys(Source, 0)
        self._refused: dict[Source, str | None] = dict.fromkeys(Source)

    @property
    def name(self) -> str:
        """Name of the folder: the episode's id."""
        return self.folder.resolve().name

    @property
    def pace(self) -> float:
        """1 while the folder grows; 0 for a complete one."""
        return 0.0 if (self.folder / DONE).exists() else 1.0

    def start_ns(self) -> int | None:
        """Time of the first label, Unix ns; None if there is none."""
        try:
            with open_regular(self.folder / LABELS, follow=False) as stream:
                return _first_label_ns(stream.read(_MAX_LABEL_BYTES))
        except OSError:
            # Without a readable label the first row is the start.
            return None

    def poll(self, wait_s: float) -> list[Arrival]:
        """Return what was appended since the last call."""
        # Checked before reading: nothing is appended once the marker exists.
        done = (self.folder / DONE).exists()
        arrivals = merged(self._files)
        arrivals += self._replacements()
        if not arrivals and done:
            arrivals = self._rest()
        elif not arrivals:
            time.sleep(min(wait_s, POLL_S))
        return arrivals

    def close(self) -> None:
        """Close the files."""
        for file in self._growing.values():
            file.close()

    def _replacements(self) -> list[Arrival]:
        faults: list[Arrival] = []
        for lines in self._files:
            n_replaced = self._growing[lines.source].n_replaced
            if n_replaced > self._replaced[lines.source]:
                self._replaced[lines.source] = n_replaced
                lines.restart()
                problem = "was replaced or cut short, and is read from its start"
                faults.append(RowFault(lines.source.member, 1, None, problem))
            refused = self._growing[lines.source].refused
            if refused != self._refused[lines.source]:
                self._refused[lines.source] = refused
                if refused is not None:
                    faults.append(RowFault(lines.source.member, 1, None, refused))
        return faults


class _InMemory(io.BytesIO):
    """Archive member in memory."""

    read_more = io.BytesIO.read


class ArchiveFeed(_FilesFeed):
    """Rows of an archived episode in order of time, without waiting.

    Raises `EpisodeRejectedError` if the archive cannot be read.
    """

    def __init__(self, path: Path) -> None:
        members = read_members(path)
        self._name = path.name.removesuffix(ARCHIVE_SUFFIX)
        self._labels = members.get(LABELS, b"")
        super().__init__({s: _InMemory(members.get(s.member, b"")) for s in Source})

    @property
    def name(self) -> str:
        """The episode's id."""
        return self._name

    @property
    def pace(self) -> float:
        """0: all rows are available."""
        return 0.0

    def start_ns(self) -> int | None:
        """Time of the first label, Unix ns; None if there is none."""
        return _first_label_ns(self._labels)

    def poll(self, wait_s: float) -> list[Arrival]:
        """Return the next rows without waiting."""
        return merged(self._files) or self._rest()


def _first_label_ns(content: bytes) -> int | None:
    """Time of the first label, Unix ns; None if it cannot be read."""
    labels, _ = parse_labels(content[: content.rfind(b"\n") + 1])
    return labels[0].t_wall_ns if labels else None

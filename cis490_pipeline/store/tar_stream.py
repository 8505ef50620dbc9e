"""A zstd-compressed tar read front to back, with bounds on what it may make us hold."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

import zstandard

_MAX_WINDOW: Final = 128 << 20
# tarfile reads an extended header in one go, whatever size it claims; no member needs more.
_MAX_READ: Final = 1 << 20
_BLOCK: Final = tarfile.BLOCKSIZE


# What tarfile raises of a header made to confuse it: it indexes, converts and recurses unchecked.
_UNREADABLE: Final = (
    tarfile.TarError,
    zstandard.ZstdError,
    EOFError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
)


class CorruptArchiveError(Exception):
    """The bytes are no whole zstd-compressed tar."""


class OversizeError(Exception):
    """More bytes came out than allowed."""


@dataclass(frozen=True)
class TarMember:
    """One entry of a tar; its content can be read until the next entry is asked for."""

    info: tarfile.TarInfo
    _stream: "_BoundedReader"

    @property
    def name(self) -> str:
        """Name as the archive gives it."""
        return self.info.name

    @property
    def size(self) -> int:
        """Bytes of content."""
        return self.info.size

    @property
    def is_file(self) -> bool:
        """Whether it is a plain regular file; a sparse one is not, as its size costs nothing."""
        return self.info.isreg() and not self.info.issparse()

    @property
    def is_folder(self) -> bool:
        """Whether it is a directory entry."""
        return self.info.isdir()

    def describe(self) -> str:
        """Say in words what kind of entry it is, for a message."""
        info = self.info
        if info.issym() or info.islnk():
            return f"a link to {info.linkname[:200]!r}"
        if info.isdev():
            return "a device or pipe"
        if self.is_file or self.is_folder:
            return "outside the episode's own folder"
        return "a sparse file" if info.issparse() else f"an entry of unknown type {info.type!r}"

    def pieces(self) -> Iterator[bytes]:
        """Yield the content in pieces of at most 1 MiB.

        Raises
        ------
        CorruptArchiveError
            If the archive ends within the member.
        """
        self._stream.seek(self.info.offset_data)
        left = self.info.size
        while left:
            piece = self._stream.take(min(left, _MAX_READ))
            if not piece:
                raise CorruptArchiveError(f"ends within member {self.name!r}, {left} bytes early")
            left -= len(piece)
            yield piece


def tar_members(compressed: BinaryIO, max_bytes: int) -> Iterator[TarMember]:
    """Yield the entries of a ``.tar.zst``.

    Parameters
    ----------
    compressed : open for reading, at its start.
    max_bytes : how many bytes may be unpacked in all.

    Raises
    ------
    CorruptArchiveError
        If it is not zstd, not a tar, or ends before the tar's closing block.
    OversizeError
        If more than `max_bytes` come out (a decompression bomb), or what describes one member
        (long names, pax records, maps of sparse files) is over 1 MiB.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    try:
        with decompressor.stream_reader(compressed, read_across_frames=True) as unpacked:
            stream = _BoundedReader(unpacked, max_bytes)
            # "r:" and not "r|": the stream mode reads headers of any size into memory.
            options = {"encoding": "utf-8", "errors": "surrogateescape"}
            with tarfile.open(fileobj=stream, mode="r:", **options) as tar:  # type: ignore[call-overload]
                while (info := tar.next()) is not None:
                    # tarfile keeps every entry it has seen; a tar of tiny ones would grow it.
                    tar.members.clear()
                    tar.pax_headers.clear()
                    yield TarMember(info, stream)
                    stream.header_left = _MAX_READ
            # tarfile takes any unreadable header after the first for the end of the archive.
            if stream.last_block.strip(b"\0") or len(stream.last_block) != _BLOCK:
                raise CorruptArchiveError("ends before the tar's closing block")
            while stream.take(_MAX_READ):
                pass
    except _UNREADABLE as wrong:
        raise CorruptArchiveError(f"no whole zstd-compressed tar: {wrong}") from wrong


class _BoundedReader:
    """What tarfile needs of a file, over a stream that only goes forward."""

    def __init__(self, stream: zstandard.ZstdDecompressionReader, max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._position = 0
        self.last_block = b""
        """The last header block read, or what there was of it."""
        self.header_left = _MAX_READ
        """How much tarfile may still read to learn of the next entry."""

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read for tarfile, which reads headers only, and believes what they say of themselves."""
        if not 0 <= size <= self.header_left:
            raise OversizeError(f"what describes one member is over {_MAX_READ} bytes")
        self.header_left -= size
        content = self.take(size)
        if size == _BLOCK:
            self.last_block = content
        return content

    def take(self, size: int) -> bytes:
        """Read so many bytes, fewer only at the end."""
        parts: list[bytes] = []
        missing = size
        try:
            while missing and (part := self._stream.read(missing)):
                parts.append(part)
                missing -= len(part)
        except zstandard.ZstdError as wrong:
            # Here too: a member's content is read by who was given the member, outside the loop.
            raise CorruptArchiveError(f"no whole zstd-compressed tar: {wrong}") from wrong
        content = b"".join(parts)
        self._position += len(content)
        if self._position > self._max_bytes:
            raise OversizeError(f"unpacks to more than {self._max_bytes} bytes")
        return content

    def seek(self, position: int, _whence: int = 0) -> int:
        if position < self._position:
            raise ValueError(f"byte {position} is wanted after byte {self._position}")
        while self._position < position:
            if not self.take(min(position - self._position, _MAX_READ)):
                break
        return self._position

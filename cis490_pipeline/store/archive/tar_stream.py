"""Sequential reading of a zstd-compressed tar with bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

import zstandard

from cis490_pipeline.store.archive.archive_errors import CorruptArchiveError, OversizeError
from cis490_pipeline.store.archive.tar_headers import (
    BLOCK,
    EntryKind,
    Header,
    parse_header,
    parse_pax,
)
from cis490_pipeline.store.archive.zstd_frames import MAX_WINDOW_BYTES, check_frames

_PIECE_BYTES: Final = 1 << 20
MAX_DESCRIPTION_BYTES: Final = 1 << 20
"""Limit on the description of one entry: long names, pax records, sparse maps."""
_ZEROS: Final = bytes(BLOCK)
_DESCRIBING: Final = frozenset(
    {EntryKind.LONG_NAME, EntryKind.LONG_LINK, EntryKind.PAX, EntryKind.PAX_GLOBAL}
)


@dataclass
class TarMember:
    """One tar entry; its content is readable until the next entry is requested."""

    name: str
    """Name as stored, with non-UTF-8 bytes as surrogates."""
    link: str
    kind: EntryKind
    type_flag: bytes
    size: int
    """Bytes of content, never negative."""
    _stream: "_BoundedReader" = field(repr=False)
    _left: int = field(default=0, repr=False)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file; not a sparse one, whose size costs an attacker nothing."""
        return self.kind is EntryKind.FILE

    @property
    def is_folder(self) -> bool:
        """Whether it is a directory entry."""
        return self.kind is EntryKind.FOLDER

    def describe(self) -> str:
        """Describe the kind of entry for a message."""
        if self.kind is EntryKind.LINK:
            return f"a link to {self.link[:200]!r}"
        if self.kind is EntryKind.DEVICE:
            return "a device or pipe"
        if self.is_file or self.is_folder:
            return "outside the episode's own folder"
        if self.kind is EntryKind.SPARSE:
            return "a sparse file"
        return f"an entry of unknown type {self.type_flag!r}"

    def pieces(self) -> Iterator[bytes]:
        """Yield the content in chunks of at most 1 MiB; raise if the archive ends within it."""
        while self._left:
            piece = self._stream.take(min(self._left, _PIECE_BYTES))
            if not piece:
                raise CorruptArchiveError(
                    f"ends within member {self.name[:200]!r}, {self._left} bytes early"
                )
            self._left -= len(piece)
            yield piece

    def finish(self) -> None:
        """Skip unread content and its padding."""
        for _ in self.pieces():
            pass
        self._stream.exactly(-self.size % BLOCK if self.kind.has_content else 0)


def tar_members(compressed: BinaryIO, max_bytes: int) -> Iterator[TarMember]:
    """Yield the entries of a ``.tar.zst``.

    Raises
    ------
    CorruptArchiveError
        If it is not zstd or not a tar, is truncated in its last frame or before the tar's two
        closing blocks, or has data after either.
    UnsupportedArchiveError
        If it needs a window over 128 MiB or a dictionary.
    OversizeError
        If it unpacks to more than `max_bytes` (a decompression bomb), or the description of one
        member (long names, pax records, sparse maps) exceeds 1 MiB.
    """
    check_frames(compressed)
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    with decompressor.stream_reader(compressed, read_across_frames=True, closefd=False) as unpacked:
        stream = _BoundedReader(unpacked, max_bytes)
        while (header := _next_header(stream)) is not None:
            member = _described(stream, header)
            if member is None:
                break
            yield member
            member.finish()
        _require_end(stream)


def _next_header(stream: "_BoundedReader") -> Header | None:
    """Read a header block; None at the first closing block."""
    position = stream.position
    block = stream.take(BLOCK)
    if len(block) < BLOCK:
        raise CorruptArchiveError("ends before the tar's closing blocks")
    return None if block == _ZEROS else parse_header(block, position)


def _described(stream: "_BoundedReader", header: Header) -> TarMember | None:
    """Read the descriptions of an entry and its own header; None if no entry follows."""
    given: dict[EntryKind, bytes] = {}
    budget = MAX_DESCRIPTION_BYTES
    while header.kind in _DESCRIBING:
        if header.size > budget:
            raise OversizeError(f"what describes one member is over {MAX_DESCRIPTION_BYTES} bytes")
        budget -= header.size + BLOCK
        content = stream.exactly(header.size)
        stream.exactly(-header.size % BLOCK)
        if header.kind is EntryKind.PAX_GLOBAL:
            parse_pax(content, for_all=True)
        elif header.kind in given:
            raise CorruptArchiveError("one entry is described twice")
        else:
            given[header.kind] = content
        following = _next_header(stream)
        if following is None and given:
            raise CorruptArchiveError("the tar's closing blocks follow what describes an entry")
        if following is None:
            return None
        header = following
    member = _member(stream, header, given)
    _pass_sparse_map(stream, header, budget)
    return member


def _member(stream: "_BoundedReader", header: Header, given: dict[EntryKind, bytes]) -> TarMember:
    pax = parse_pax(given.get(EntryKind.PAX, b""), for_all=False)
    long_name = given.get(EntryKind.LONG_NAME, header.name).partition(b"\0")[0]
    long_link = given.get(EntryKind.LONG_LINK, header.link).partition(b"\0")[0]
    kind = EntryKind.SPARSE if pax.sparse and header.kind is EntryKind.FILE else header.kind
    name = _decoded(long_name if pax.name is None else pax.name)
    size = header.size if pax.size is None else pax.size
    return TarMember(
        name=name.rstrip("/") if kind is EntryKind.FOLDER else name,
        link=_decoded(long_link if pax.link is None else pax.link),
        kind=kind,
        type_flag=header.type_flag,
        size=size,
        _stream=stream,
        _left=size if kind.has_content else 0,
    )


def _pass_sparse_map(stream: "_BoundedReader", header: Header, budget: int) -> None:
    more = header.more_sparse
    while more:
        budget -= BLOCK
        if budget < 0:
            raise OversizeError(f"what describes one member is over {MAX_DESCRIPTION_BYTES} bytes")
        more = stream.exactly(BLOCK)[504] != 0


def _require_end(stream: "_BoundedReader") -> None:
    """Check that a second closing block and only zeros follow the first."""
    if stream.take(BLOCK) != _ZEROS:
        raise CorruptArchiveError("has one of the tar's two closing blocks")
    zeros = bytes(_PIECE_BYTES)
    while padding := stream.take(_PIECE_BYTES):
        # Compared rather than stripped, which would cost ten times as much as unpacking.
        if padding != (zeros if len(padding) == len(zeros) else bytes(len(padding))):
            raise CorruptArchiveError(
                "goes on after the tar's closing blocks, as tars that were put one after another "
                "do: pack all members into one"
            )
    if stream.position % BLOCK:
        raise CorruptArchiveError(f"has {stream.position} bytes unpacked, no whole blocks of tar")


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


class _BoundedReader:
    """Reader that limits the total unpacked size."""

    def __init__(self, stream: zstandard.ZstdDecompressionReader, max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self.position = 0

    def take(self, size: int) -> bytes:
        """Read ``size`` bytes, fewer only at the end."""
        assert size >= 0, "no size below zero comes from a header"
        parts: list[bytes] = []
        missing = size
        try:
            while missing and (part := self._stream.read(missing)):
                parts.append(part)
                missing -= len(part)
        except zstandard.ZstdError as wrong:
            raise CorruptArchiveError(
                f"cannot be unpacked after byte {self.position}: {wrong}; it was damaged, or "
                "packed with a dictionary that has no number (zstd -D)"
            ) from wrong
        content = b"".join(parts)
        self.position += len(content)
        if self.position > self._max_bytes:
            raise OversizeError(f"unpacks to more than {self._max_bytes} bytes")
        return content

    def exactly(self, size: int) -> bytes:
        """Read exactly ``size`` bytes; raise if the archive ends before."""
        content = self.take(size)
        if len(content) < size:
            raise CorruptArchiveError("ends before the tar's closing blocks")
        return content

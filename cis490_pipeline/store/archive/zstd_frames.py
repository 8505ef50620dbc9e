"""Validation of zstd frames for completeness and resource limits before unpacking.

A streaming decompressor treats the end of the file as the end of the data, so a missing checksum
or last block goes unnoticed, as do bytes after the last frame. The headers of frames and blocks
define where each ends (RFC 8878, 3.1) and can be read without decompression.
"""

import os
from dataclasses import dataclass
from typing import BinaryIO, Final

from cis490_pipeline.store.archive.archive_errors import (
    CorruptArchiveError,
    UnsupportedArchiveError,
)

MAX_WINDOW_BYTES: Final = 128 << 20
"""Limit on a frame's window, equal to that of ``zstd --long=27``."""
MAX_BLOCKS: Final = 1 << 18
"""Limit on blocks of all frames; an archive of 1 GiB has 8,192 of the usual size."""

_MAGIC: Final = 0xFD2FB528
_SKIPPABLE: Final = range(0x184D2A50, 0x184D2A60)
_MAX_BLOCK_BYTES: Final = 128 << 10
_RAW, _RLE, _COMPRESSED = range(3)
_ID_BYTES: Final = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES: Final = (0, 2, 4, 8)
_HEAD_BYTES: Final = 512
_LFS: Final = b"version https://git-lfs.github.com/spec/"

_KINDS: Final = (
    (b"\x1f\x8b", "gzip"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"PK\x03\x04", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
)
_REPACK: Final = "unpack it, and pack it again: tar -cf - FOLDER | zstd -o ID.tar.zst"


def check_frames(stream: BinaryIO) -> None:
    """Check that a file consists of complete zstd frames, and rewind it.

    Raises
    ------
    CorruptArchiveError
        If it is not zstd, ends within a frame, or has other bytes after its last frame.
    UnsupportedArchiveError
        If a frame needs a window over 128 MiB or a dictionary, or there are too many blocks.
    """
    walk = _Walk(stream, os.fstat(stream.fileno()).st_size)
    stream.seek(0)
    _require_zstd(stream.read(_HEAD_BYTES), walk.size)
    stream.seek(0)
    n_frames = 0
    while walk.position < walk.size:
        n_frames += _check_frame(walk)
    if not n_frames:
        raise CorruptArchiveError("holds no frame but those to be skipped")
    stream.seek(0)


def foreign_kind(head: bytes) -> str | None:
    """Identify a file that is not zstd from its first bytes, with a remedy; None for zstd."""
    if head[:4] == _MAGIC.to_bytes(4, "little") or _is_skippable(head[:4]):
        return None
    if not head:
        return "is empty"
    if head.startswith(_LFS):
        return "is a pointer of git-lfs, not the archive itself: fetch it with git lfs pull"
    if head[257:262] == b"ustar":
        return "is a tar that is not compressed: pack it with zstd"
    if head.lstrip()[:9].lower() in (b"<!doctype", b"<html><he") or head.startswith(b"<html"):
        return "is a web page, not an archive: what was downloaded is an answer of the server"
    kind = next((kind for magic, kind in _KINDS if head.startswith(magic)), None)
    return f"is {kind}, not zstd, whatever its name says: {_REPACK}" if kind else "is not zstd"


def _require_zstd(head: bytes, size: int) -> None:
    kind = foreign_kind(head)
    if kind is not None:
        raise CorruptArchiveError(f"{kind} (begins with {head[:4].hex() or 'nothing'})")
    if size < len(head):
        raise CorruptArchiveError("was cut short while it was being read")


@dataclass
class _Walk:
    """Forward-only position in a file of known size."""

    stream: BinaryIO
    size: int
    position: int = 0
    n_blocks: int = 0

    def take(self, n_bytes: int) -> bytes:
        """Read exactly ``n_bytes``; raise if the file ends before."""
        self.forward(n_bytes)
        content = self.stream.read(n_bytes)
        if len(content) != n_bytes:
            raise CorruptArchiveError("was cut short while it was being read")
        return content

    def skip(self, n_bytes: int) -> None:
        self.forward(n_bytes)
        self.stream.seek(n_bytes, os.SEEK_CUR)

    def forward(self, n_bytes: int) -> None:
        self.position += n_bytes
        if self.position > self.size:
            missing = self.position - self.size
            raise CorruptArchiveError(
                f"ends within a frame, at least {missing} bytes early: it was not copied whole"
            )

    def count_block(self) -> None:
        self.n_blocks += 1
        if self.n_blocks > MAX_BLOCKS:
            raise UnsupportedArchiveError(
                f"has over {MAX_BLOCKS} blocks and frames in {self.size} bytes; {_REPACK}"
            )


def _check_frame(walk: _Walk) -> bool:
    """Skip one frame; return whether it has content, unlike a skippable frame."""
    start = walk.position
    walk.count_block()
    if walk.size - start < 4:
        raise CorruptArchiveError(f"{walk.size - start} bytes follow its last frame")
    magic = walk.take(4)
    if _is_skippable(magic):
        walk.skip(int.from_bytes(walk.take(4), "little"))
        return False
    if int.from_bytes(magic, "little") != _MAGIC:
        raise CorruptArchiveError(
            f"{walk.size - start} bytes follow its last frame, and are no frame (they begin with "
            f"{magic.hex()})"
        )
    descriptor = walk.take(1)[0]
    if descriptor & 0x08:
        raise CorruptArchiveError(f"the frame at byte {start} is of an unknown kind")
    max_block = min(_MAX_BLOCK_BYTES, _check_header(walk, descriptor, start))
    while not _check_block(walk, max_block):
        pass
    if descriptor & 0x04:
        walk.skip(4)
    return True


def _check_header(walk: _Walk, descriptor: int, start: int) -> int:
    """Read a frame's header after its descriptor; return its window size in bytes."""
    one_segment = bool(descriptor & 0x20)
    window = 0 if one_segment else _window_bytes(walk.take(1)[0])
    dictionary = int.from_bytes(walk.take(_ID_BYTES[descriptor & 3]), "little")
    n_size_bytes = _CONTENT_SIZE_BYTES[descriptor >> 6] or int(one_segment)
    content_bytes = int.from_bytes(walk.take(n_size_bytes), "little")
    content_bytes += 256 if n_size_bytes == 2 else 0
    if one_segment:
        window = content_bytes
    if dictionary:
        raise UnsupportedArchiveError(
            f"the frame at byte {start} needs the dictionary {dictionary}, which is not in the "
            "archive; pack it again without one (zstd without -D)"
        )
    if window > MAX_WINDOW_BYTES:
        raise UnsupportedArchiveError(
            f"the frame at byte {start} asks for a window of {window} bytes, at most "
            f"{MAX_WINDOW_BYTES} (128 MiB) are held; pack it again with a smaller one: "
            "zstd -dc --long=31 OLD | zstd --long=27 -o NEW"
        )
    return window


def _window_bytes(descriptor: int) -> int:
    base = 1 << (10 + (descriptor >> 3))
    return base + base // 8 * (descriptor & 7)


def _check_block(walk: _Walk, max_bytes: int) -> bool:
    """Skip one block; return whether it is the frame's last."""
    walk.count_block()
    header = int.from_bytes(walk.take(3), "little")
    kind, size = header >> 1 & 3, header >> 3
    if kind not in (_RAW, _RLE, _COMPRESSED) or size > max_bytes:
        raise CorruptArchiveError(
            f"the block at byte {walk.position - 3} is of kind {kind} and {size} bytes, which no "
            "block may be"
        )
    walk.skip(1 if kind == _RLE else size)
    return bool(header & 1)


def _is_skippable(magic: bytes) -> bool:
    return len(magic) == 4 and int.from_bytes(magic, "little") in _SKIPPABLE

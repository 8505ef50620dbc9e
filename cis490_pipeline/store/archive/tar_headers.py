"""Strict parsing of tar headers and extended headers.

Supports POSIX ustar and pax (IEEE 1003.1), GNU and old tars. Only the fields in use are parsed:
name, size, type and link target. All three encodings of a size (octal text, base 256, pax) can
express negative numbers, which are refused because they would defeat every limit.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from cis490_pipeline.store.archive.archive_errors import CorruptArchiveError

BLOCK: Final = 512
_MAX_SIZE: Final = 2**63 - 1
_OCTAL: Final = re.compile(rb" *([0-7]{1,12})")
_DECIMAL: Final = re.compile(rb"[0-9]{1,19}")
# A length followed by a space; 7 digits suffice for extended headers of at most 1 MiB.
_RECORD_LENGTH: Final = re.compile(rb"([1-9][0-9]{0,6}) ")
_PAX_ACTED_ON: Final = frozenset({b"path", b"linkpath", b"size"})
_PAX_SPARSE: Final = b"GNU.sparse."


class EntryKind(Enum):
    """Kinds of entries that the reader treats differently."""

    FILE = auto()
    FOLDER = auto()
    LINK = auto()
    DEVICE = auto()
    SPARSE = auto()
    LONG_NAME = auto()
    LONG_LINK = auto()
    PAX = auto()
    PAX_GLOBAL = auto()
    UNKNOWN = auto()

    @property
    def has_content(self) -> bool:
        """Whether content of the given size follows the header."""
        return self not in (EntryKind.FOLDER, EntryKind.LINK, EntryKind.DEVICE)


_KINDS: Final = {
    b"\0": EntryKind.FILE,
    b"0": EntryKind.FILE,
    b"7": EntryKind.FILE,
    b"1": EntryKind.LINK,
    b"2": EntryKind.LINK,
    b"3": EntryKind.DEVICE,
    b"4": EntryKind.DEVICE,
    b"5": EntryKind.FOLDER,
    b"6": EntryKind.DEVICE,
    b"S": EntryKind.SPARSE,
    b"L": EntryKind.LONG_NAME,
    b"K": EntryKind.LONG_LINK,
    b"x": EntryKind.PAX,
    b"X": EntryKind.PAX,
    b"g": EntryKind.PAX_GLOBAL,
}


@dataclass(frozen=True, kw_only=True)
class Header:
    """One header block."""

    name: bytes
    link: bytes
    size: int
    """Bytes of content, 0 to 2^63 - 1."""
    kind: EntryKind
    type_flag: bytes
    more_sparse: bool
    """Whether a block of an old GNU sparse map follows."""


def parse_header(block: bytes, position: int) -> Header:
    """Parse a header block that is not all zeros; its position is for error messages.

    Raises `CorruptArchiveError` if the checksum is wrong, or the size is not from 0 to 2^63 - 1.
    """
    where = f"header at byte {position} of the tar"
    _check_sum(block, where)
    flag = block[156:157]
    kind = _KINDS.get(flag, EntryKind.UNKNOWN)
    name = _text(block[:100])
    if kind is EntryKind.FILE and flag == b"\0" and name.endswith(b"/"):
        # Old-style folder, from before 1988 but still written by some tools.
        kind = EntryKind.FOLDER
    if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):
        name = prefix + b"/" + name
    # Some tools leave the size of entries without content blank.
    blank = 0 if not kind.has_content else None
    return Header(
        name=name,
        link=_text(block[157:257]),
        size=_number(block[124:136], f"{where}: size", blank),
        kind=kind,
        type_flag=flag,
        more_sparse=kind is EntryKind.SPARSE and block[482] != 0,
    )


@dataclass(frozen=True, kw_only=True)
class Pax:
    """Attributes of the next entry from an extended header; None if absent."""

    name: bytes | None = None
    link: bytes | None = None
    size: int | None = None
    sparse: bool = False


def parse_pax(content: bytes, *, for_all: bool) -> Pax:
    """Parse the records of an extended header, given without padding.

    Raises `CorruptArchiveError` if a record is truncated, a size is invalid, or a global header
    (``for_all``) names or sizes a single entry.
    """
    attributes: dict[bytes, bytes] = {}
    sparse = False
    position = 0
    while position < len(content):
        length = _RECORD_LENGTH.match(content, position)
        end = position + int(length[1]) if length else 0
        if length is None or not length.end() < end <= len(content) or content[end - 1] != 0x0A:
            raise CorruptArchiveError(f"pax record at byte {position} of its header is torn")
        key, equals, value = content[length.end() : end - 1].partition(b"=")
        if not equals:
            raise CorruptArchiveError(f"pax record at byte {position} of its header has no =")
        sparse = sparse or key.startswith(_PAX_SPARSE)
        if key in _PAX_ACTED_ON:
            attributes[key] = value
        position = end
    if for_all and (attributes or sparse):
        raise CorruptArchiveError("a global pax header gives every entry one name or size")
    return Pax(
        name=attributes.get(b"path"),
        link=attributes.get(b"linkpath"),
        size=_pax_size(attributes[b"size"]) if b"size" in attributes else None,
        sparse=sparse,
    )


def _pax_size(value: bytes) -> int:
    if not _DECIMAL.fullmatch(value) or int(value) > _MAX_SIZE:
        raise CorruptArchiveError(
            f"pax size is {value[:40]!r}, wanted a whole number from 0 to {_MAX_SIZE}"
        )
    return int(value)


def _check_sum(block: bytes, where: str) -> None:
    stated = _number(block[148:156], f"{where}: checksum", None)
    counted = block[:148] + b" " * 8 + block[156:]
    total = sum(counted)
    # Some old tars summed signed bytes.
    signed = total - 256 * sum(byte > 127 for byte in counted)
    if stated not in (total, signed):
        raise CorruptArchiveError(f"{where}: its checksum is {stated}, its bytes have {total}")


def _number(field: bytes, where: str, blank: int | None) -> int:
    """Parse a numeric field: octal digits, or base 256 if the first bit is set."""
    if field[0] & 0x80:
        if field[0] & 0x40:
            raise CorruptArchiveError(f"{where} is below zero")
        value = int.from_bytes(bytes([field[0] & 0x3F]) + field[1:], "big")
        if value > _MAX_SIZE:
            raise CorruptArchiveError(f"{where} is {value}, at most {_MAX_SIZE} is a number here")
        return value
    text = field.partition(b"\0")[0].rstrip(b" ")
    if not text.strip(b" ") and blank is not None:
        return blank
    octal = _OCTAL.fullmatch(text)
    if octal is None:
        raise CorruptArchiveError(f"{where} is {text!r}, wanted octal digits")
    return int(octal[1], 8)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]

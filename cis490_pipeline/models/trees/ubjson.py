"""Strict decoder of XGBoost's UBJSON; every length is bounded by the file.

Supports only the part of the format (https://ubjson.org) that XGBoost's writer emits: objects with
keys of a 64-bit length, counted arrays, typed arrays of numbers, strings, integers and floats.
XGBoost's own reader trusts lengths, types and indices, so a changed byte can crash the process.
"""

import struct
from typing import Final

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.generic]
Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"] | Numbers

MAX_DEPTH: Final = 12
"""Limit on nesting; XGBoost's models have seven levels."""

_NUMBERS: Final = {
    b"i": ("b", 1),
    b"U": ("B", 1),
    b"I": ("h", 2),
    b"l": ("i", 4),
    b"L": ("q", 8),
    b"d": ("f", 4),
    b"D": ("d", 8),
}
_WORDS: Final[dict[bytes, bool | None]] = {b"T": True, b"F": False, b"Z": None}


class UbjsonError(ValueError):
    """Bytes are not what XGBoost's writer emits."""


def decode_ubjson(content: bytes) -> Value:
    """Decode a single value that spans the whole content.

    Returns
    -------
    Objects as dicts, typed arrays as one-dimensional numpy arrays, other arrays as lists.

    Raises
    ------
    UbjsonError
        Naming the byte at which it is truncated, continues, or is malformed.
    """
    reader = _Reader(content)
    value = reader.value(reader.take(1), 0)
    if reader.place != len(content):
        raise UbjsonError(f"goes on after its end, at byte {reader.place} of {len(content)}")
    return value


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0

    def take(self, n: int) -> bytes:
        end = self.place + n
        if n < 0 or end > len(self.content):
            raise UbjsonError(
                f"wants {n} bytes at byte {self.place}, of {len(self.content)} in all"
            )
        taken = self.content[self.place : end]
        self.place = end
        return taken

    def value(self, marker: bytes, depth: int) -> Value:
        if marker in _NUMBERS:
            return self._number(marker)
        if marker == b"S":
            return self._text()
        if marker in _WORDS:
            return _WORDS[marker]
        if depth == MAX_DEPTH:
            raise UbjsonError(f"nested deeper than {MAX_DEPTH} levels at byte {self.place}")
        if marker == b"{":
            return self._object(depth + 1)
        if marker == b"[":
            return self._array(depth + 1)
        raise self._strange(marker)

    def _number(self, marker: bytes) -> int | float:
        code, size = _NUMBERS[marker]
        number: int | float = struct.unpack(f">{code}", self.take(size))[0]
        return number

    def _length(self) -> int:
        if (marker := self.take(1)) != b"L":
            raise self._strange(marker)
        return int(self._number(b"L"))

    def _text(self) -> str:
        place, raw = self.place, self.take(self._length())
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise UbjsonError(f"the text at byte {place} is not UTF-8") from None

    def _object(self, depth: int) -> dict[str, Value]:
        members: dict[str, Value] = {}
        while self.content[self.place : self.place + 1] != b"}":
            place, key = self.place, self._text()
            if key in members:
                raise UbjsonError(f"key {key!r} is given twice, at byte {place}")
            members[key] = self.value(self.take(1), depth)
        self.take(1)
        return members

    def _array(self, depth: int) -> list[Value] | Numbers:
        marker = self.take(1)
        kind = self.take(1) if marker == b"$" else None
        if kind is not None:
            marker = self.take(1)
        if marker != b"#" or (kind is not None and kind not in _NUMBERS):
            raise self._strange(marker if marker != b"#" else kind or b"")
        n = self._length()
        if kind is not None:
            code, size = _NUMBERS[kind]
            return np.frombuffer(self.take(n * size), dtype=f">{code}")
        # Each element has at least a marker, which bounds the count by the remaining bytes.
        if not 0 <= n <= len(self.content) - self.place:
            raise UbjsonError(f"an array of {n} elements at byte {self.place}")
        return [self.value(self.take(1), depth) for _ in range(n)]

    def _strange(self, marker: bytes) -> UbjsonError:
        return UbjsonError(f"holds {marker!r} at byte {self.place - 1}, which XGBoost never writes")

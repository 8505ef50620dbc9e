"""Bounded decoder of the protobuf wire format, as far as ONNX uses it.

https://protobuf.dev/programming-guides/encoding: a message is a sequence of fields, each a number,
a type and a value. Long lists of numbers, as in trees, are decoded with numpy.
"""

import re
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

Value = int | bytes
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

_LONGEST_VARINT: Final = 10
_RUN: Final = 64
"""Minimal size of a list decoded with numpy, bytes."""


class ProtobufError(ValueError):
    """Bytes are not a valid message."""


def fields(content: bytes) -> Iterator[tuple[int, int, Value]]:
    """Yield number, wire type and value of each field, in order.

    Raises `ProtobufError`, naming the byte at which decoding fails.
    """
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        value, place = _value(content, place, key & 7)
        yield key >> 3, key & 7, value


def signed(number: int) -> int:
    """Reinterpret a varint of a signed 64-bit field."""
    return number - 2**64 if number >= 2**63 else number


def _value(content: bytes, place: int, wire: int) -> tuple[Value, int]:
    if wire == VARINT:
        return _varint(content, place)
    if wire == BYTES:
        size, place = _varint(content, place)
    elif wire in (FIXED64, FIXED32):
        size = 8 if wire == FIXED64 else 4
    else:
        raise ProtobufError(f"wire type {wire} at byte {place}")
    if size > len(content) - place:
        raise ProtobufError(f"a value of {size} bytes at byte {place} of {len(content)}")
    return content[place : place + size], place + size


def _varint(content: bytes, place: int) -> tuple[int, int]:
    number = 0
    for i, byte in enumerate(content[place : place + _LONGEST_VARINT]):
        number |= (byte & 127) << (7 * i)
        if byte < 128:
            if number >= 2**64:
                break
            return number, place + i + 1
    raise ProtobufError(f"a number without end at byte {place}")


def packed_varints(content: bytes) -> npt.NDArray[np.int64]:
    """Decode consecutive varints as signed 64-bit numbers.

    Raises `ProtobufError` if the last is truncated or one is too long.
    """
    raw = np.frombuffer(content, dtype=np.uint8)
    ends = np.flatnonzero(raw < 128)
    if raw.size and (not ends.size or ends[-1] != raw.size - 1):
        raise ProtobufError("a list of numbers without end")
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)[: ends.size]
    sizes = ends - starts + 1
    if sizes.size and sizes.max() > _LONGEST_VARINT:
        raise ProtobufError("a number of a list is too long")
    numbers = np.zeros(ends.size, dtype=np.uint64)
    for i in range(int(sizes.max(initial=0))):
        there = sizes > i
        part = raw[starts[there] + i].astype(np.uint64) & np.uint64(127)
        numbers[there] |= part << np.uint64(7 * i)
    return numbers.view(np.int64)


def lists_apart(content: bytes) -> tuple[bytes, dict[int, npt.NDArray[np.generic]], list[bytes]]:
    """Extract the long unpacked lists from an ONNX attribute, whose fields are in order.

    Returns the message without them; floats (field 7) and ints (field 8) by number; strings (9).
    """
    numbers: dict[int, npt.NDArray[np.generic]] = {}
    strings: list[bytes] = []
    if len(content) < _RUN:
        return content, numbers, strings
    rest, place = [], 0
    while place < len(content):
        key = content[place]
        end = place
        if key == (7 << 3 | FIXED32) and 7 not in numbers:
            n = _leading(np.frombuffer(content, dtype=np.uint8)[place::5] == key)
            n = min(n, (len(content) - place) // 5)
            end = place + 5 * n
            numbers[7] = _strided_floats(content[place:end])
        elif key == (8 << 3 | VARINT) and 8 not in numbers:
            numbers[8], end = _tagged_varints(content, place, key)
        elif key == (9 << 3 | BYTES) and not strings:
            run = _STRINGS.match(content, place)
            if run is not None:
                end = run.end()
                strings = [match[1] for match in _STRING.finditer(content, place, end)]
        if end == place:
            _, after = _varint(content, place)
            _, end = _value(content, after, key & 7)
            rest.append(content[place:end])
        place = end
    return b"".join(rest), numbers, strings


_STRING: Final = re.compile(rb"\x4a(?:\x04(?=LEAF)|\x09(?=BRANCH_LT))(LEAF|BRANCH_LT)")
_STRINGS: Final = re.compile(rb"(?:\x4a(?:\x04LEAF|\x09BRANCH_LT))+")
"""Modes of tree nodes, the only long list of strings in an export."""


def _leading(holds: npt.NDArray[np.bool_]) -> int:
    """Length of the leading run of true values."""
    wrong = np.flatnonzero(~holds)
    return int(wrong[0]) if wrong.size else holds.size


def _strided_floats(run: bytes) -> npt.NDArray[np.generic]:
    rows = np.frombuffer(run, dtype=np.uint8).reshape(-1, 5)[:, 1:]
    return np.ascontiguousarray(rows).view("<f4")[:, 0]


def _tagged_varints(content: bytes, place: int, key: int) -> tuple[npt.NDArray[np.generic], int]:
    raw = np.frombuffer(content, dtype=np.uint8)[place:]
    ends = np.flatnonzero(raw < 128)
    starts = np.concatenate([[0], ends[:-1] + 1])[: ends.size]
    # Keys (one byte each) alternate with values.
    keys, n_pairs = starts[0::2], ends.size // 2
    good = (raw[keys] == key) & (ends[0::2] == keys)
    n = min(_leading(good), n_pairs)
    end = place + int(ends[2 * n - 1]) + 1 if n else place
    values = packed_varints(content[place:end])[1::2]
    return values, end

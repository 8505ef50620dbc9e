"""Strict JSON of the episode format: no duplicate keys, no NaN, UTF-8 only."""

import json
from collections.abc import Iterable
from typing import Final, NoReturn

from cis490_pipeline.storage.json_text import Json

MAX_LINE_BYTES: Final = 1 << 20
"""Limit on the size of an object; a thousand times a real row, yet small in memory."""


class DuplicateKeyError(ValueError):
    """An object has a key twice; carries the key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"key {key!r} is given twice")
        self.key = key


def parse_object(text: bytes) -> dict[str, Json]:
    """Parse one JSON object.

    Raises
    ------
    ValueError
        If it is not UTF-8, not JSON, not an object, over 1 MiB, nested too deeply, or contains
        NaN, an infinity or half a surrogate pair.
    DuplicateKeyError
        If any object in it has a key twice.
    """
    if len(text) > MAX_LINE_BYTES:
        raise ValueError(f"has {len(text)} bytes, at most {MAX_LINE_BYTES} are read")
    try:
        value = json.loads(
            text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise ValueError("nested too deep") from None
    if b"\\u" in text:
        _refuse_half_pairs(value)
    if not isinstance(value, dict):
        raise ValueError(f"is a JSON {type(value).__name__}, not an object")
    return value


def canonical_text(value: object) -> bytes:
    """Serialize with sorted keys and no whitespace; raise `ValueError` if nested too deeply."""
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    except RecursionError:
        raise ValueError("nested too deep") from None
    return text.encode()


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise DuplicateKeyError(_first_repeated(key for key, _ in pairs))
    return result


def _first_repeated(keys: Iterable[str]) -> str:
    """Return the first repeated key, in linear time to bound the cost of a faulty line."""
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    raise AssertionError("fewer keys than pairs, and none of them twice")


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON number")


def _refuse_half_pairs(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("holds half a surrogate pair, which no text can") from None
    except RecursionError:
        # Serializing needs more stack than parsing.
        raise ValueError("nested too deep") from None

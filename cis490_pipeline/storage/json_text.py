"""Decoding of untrusted JSON: malformed input raises ``msgspec.DecodeError`` and nothing else."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import msgspec

MAX_DEPTH: Final = 64
"""Limit on nested arrays and objects; files of this project stay below ten."""

T = TypeVar("T")

if TYPE_CHECKING:
    Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None
    """A value that JSON can carry."""
else:
    # msgspec resolves the fields of a structure, and knows no recursive alias.
    Json = Any


def decode_json(content: bytes | str, form: type[T]) -> T:
    """Decode JSON and convert it to a type; both fail with `msgspec.DecodeError`."""
    return msgspec.convert(decode_value(content), type=form)


def decode_value(content: bytes | str) -> Any:
    """Decode JSON of any type.

    Raises `msgspec.DecodeError` if it is not UTF-8, not JSON, or nested deeper than ``MAX_DEPTH``.
    msgspec itself raises ``UnicodeDecodeError`` and ``RecursionError`` for the first and the third,
    and accepts a depth at which hashing the value fails later.
    """
    try:
        value = msgspec.json.decode(content)
    except UnicodeDecodeError as wrong:
        raise msgspec.DecodeError(f"not UTF-8: {wrong.reason} (byte {wrong.start})") from None
    except RecursionError:
        raise msgspec.DecodeError(f"nested deeper than {MAX_DEPTH} levels") from None
    _require_shallow(value)
    return value


def _require_shallow(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [part for outer in level for part in _parts(outer)]
        if not level:
            return
    raise msgspec.DecodeError(f"nested deeper than {MAX_DEPTH} levels")


def _parts(value: object) -> Iterable[Any]:
    """Return the containers directly inside a decoded value."""
    if isinstance(value, dict):
        return [part for part in value.values() if isinstance(part, dict | list)]
    if isinstance(value, list):
        return [part for part in value if isinstance(part, dict | list)]
    return ()

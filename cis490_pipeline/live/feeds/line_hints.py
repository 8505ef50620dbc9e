"""Hints for lines that are not rows: log shippers wrap, prefix, batch and quote rows."""

import json
from collections.abc import Callable
from typing import Final

from cis490_pipeline.storage.json_text import Json
from cis490_pipeline.store.rows.columns import TIME
from cis490_pipeline.store.rows.strict_json import parse_object

MAX_HINTED_BYTES: Final = 1 << 16
"""Longer lines are not examined: they are no single row, and parsing them again costs time."""


def line_hint(line: bytes) -> str | None:
    """Describe how a row was wrapped and how to unwrap it; None if no pattern matches."""
    if len(line) > MAX_HINTED_BYTES:
        return None
    for pattern in _PATTERNS:
        hint = pattern(line)
        if hint is not None:
            return hint
    return None


def _wrapped(line: bytes) -> str | None:
    """Row in a field, as docker's json-file driver, fluent-bit and journalctl -o json write it."""
    for key, value in _object(line).items():
        inner = value if isinstance(value, dict) else _object_of_text(value)
        if TIME in inner:
            name = ascii(key)[1:-1][:40]
            how = f"jq -r '.{name}'" if isinstance(value, str) else f"jq -c '.{name}'"
            return f"the row is wrapped in the field `{name}`: take it out, for example with {how}"
    return None


def _as_text(line: bytes) -> str | None:
    """64-bit integers as strings, as protobuf's JSON mapping writes them."""
    value = _object(line).get(TIME)
    if isinstance(value, str) and value.lstrip("-").isdecimal():
        return "its numbers are text: write 64-bit integers as JSON numbers"
    return None


def _batch(line: bytes) -> str | None:
    """Several rows as one JSON array."""
    if not line.lstrip().startswith(b"["):
        return None
    try:
        rows = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if isinstance(rows, list) and rows and isinstance(rows[0], dict) and TIME in rows[0]:
        return (
            f"it is an array of {len(rows)} rows: send one row a line, for example with jq -c '.[]'"
        )
    return None


def _prefixed(line: bytes) -> str | None:
    """Row after a log prefix (time, host, program), or after a truncated row."""
    begin = line.find(b"{", 1)
    if begin < 0:
        return None
    if not line.startswith(b"{") and TIME in _object(line[begin:]):
        return (
            f"{begin} bytes of text precede the row: send the row alone, for example with "
            "journalctl -o cat"
        )
    if line.startswith(b"{") and TIME in _object(line[line.rfind(b"{") :]):
        return "a second row starts within it: its sender was stopped in the middle of a line"
    return None


_PATTERNS: Final[tuple[Callable[[bytes], str | None], ...]] = (
    _wrapped,
    _as_text,
    _batch,
    _prefixed,
)


def _object(text: bytes) -> dict[str, Json]:
    try:
        return parse_object(text)
    except ValueError:
        return {}


def _object_of_text(value: object) -> dict[str, Json]:
    return _object(value.encode()) if isinstance(value, str) else {}

"""JSON values as short text."""

from collections.abc import Mapping
from typing import Any


def plain_text(value: Any) -> str:
    """Write any JSON value in a few words: null as n/a, an object as its entries.

    Examples
    --------
    >>> plain_text({"rate": 0.25, "widths": [256, 128], "cut": None})
    'rate 0.25, widths 256, 128, cut n/a'
    """
    if value is None:
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {plain_text(entry)}" for name, entry in value.items())
    if isinstance(value, list):
        return ", ".join(map(plain_text, value)) or "none"
    return str(value)

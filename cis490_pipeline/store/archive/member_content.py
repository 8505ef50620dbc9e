"""Truncation of member contents to what their parsers accept.

A member may have 256 MiB, but a row or ``meta.json`` at most 1 MiB: longer lines are cut one byte
beyond the limit, which is enough to detect them.
"""

from collections.abc import Iterable
from io import BytesIO
from typing import Final

from cis490_pipeline.store.rows.read import MAX_LINES
from cis490_pipeline.store.rows.strict_json import MAX_LINE_BYTES

_KEPT_OF_A_LINE: Final = MAX_LINE_BYTES + 1


def kept_lines(pieces: Iterable[bytes]) -> bytes:
    """Join chunks, cutting each line one byte beyond its limit and stopping after too many lines.

    A chunk has at most `MAX_LINE_BYTES`, so that only its first line can be too long.
    """
    # Unlike joining a list, this holds the bytes only once.
    kept = BytesIO()
    n_of_line = n_lines = 0
    for piece in pieces:
        if n_lines > MAX_LINES:
            continue
        first = piece.find(b"\n")
        end = first if first >= 0 else len(piece)
        room = max(0, _KEPT_OF_A_LINE - n_of_line)
        kept.write(piece if end <= room else piece[:room] + piece[end:])
        last = piece.rfind(b"\n") + 1
        n_of_line = len(piece) - last if last else n_of_line + len(piece)
        n_lines += piece.count(b"\n")
    return kept.getvalue()


def kept_start(pieces: Iterable[bytes]) -> bytes:
    """Return the start of a single-object member, at most one byte beyond the limit."""
    kept = BytesIO()
    for piece in pieces:
        kept.write(piece[: _KEPT_OF_A_LINE - kept.tell()])
    return kept.getvalue()

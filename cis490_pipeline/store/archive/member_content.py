"""What is kept of a member's bytes: as much as their reader takes, and no more.

A member may be 256 MiB, but no row 1 MiB and no ``meta.json`` either: of a line without end only
so much is kept as shows that it is too long.
"""

from collections.abc import Iterable
from io import BytesIO
from typing import Final

from cis490_pipeline.store.rows.read import MAX_LINES
from cis490_pipeline.store.rows.strict_json import MAX_LINE_BYTES

_KEPT_OF_A_LINE: Final = MAX_LINE_BYTES + 1


def kept_lines(pieces: Iterable[bytes]) -> bytes:
    """Put lines together: of each at most a byte over its limit, and few over their number's.

    Parameters
    ----------
    pieces : of the file, each at most `MAX_LINE_BYTES` long, so that only a piece's first line can
        be too long.
    """
    # Unlike a list to be joined, it holds the bytes once.
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
    """Return the first bytes of a member that is one object, a byte over the limit at most."""
    kept = BytesIO()
    for piece in pieces:
        kept.write(piece[: _KEPT_OF_A_LINE - kept.tell()])
    return kept.getvalue()

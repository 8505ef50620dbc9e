"""Rows that were delivered twice: equal to an earlier one in every field, they count once.

Equal rows have equal times, so that only rows whose time occurs twice are looked at: nearly always
none. A row that follows later ones, as a batch that is sent again does, is found as well.
"""

from collections.abc import Collection, Iterator, Mapping
from hashlib import blake2b
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from cis490_pipeline.store.rows.strict_json import canonical_text, parse_object

Flags = npt.NDArray[np.bool_]


def row_identity(row: Mapping[str, Any]) -> bytes:
    """Digest of all that a row says: equal for rows that are equal in every field.

    Null is no field, ``5.0`` is 5, and neither order nor space matters.
    """
    said = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in row.items()
        if value is not None
    }
    return blake2b(canonical_text(said), digest_size=16).digest()


def repeated_rows(
    content: bytes, t_wall_ns: npt.NDArray[np.int64], faulty: Collection[int]
) -> Flags | None:
    """Which rows are equal to an earlier one in every field; ``None`` if none is.

    Parameters
    ----------
    content : one row to a line.
    t_wall_ns : (n_rows,) time of each row, in the order of the lines, Unix ns.
    faulty : numbers of the lines that are no rows, from 1.
    """
    if not t_wall_ns.size or (t_wall_ns[1:] > t_wall_ns[:-1]).all():
        return None
    order = np.argsort(t_wall_ns, kind="stable")
    same = t_wall_ns[order[1:]] == t_wall_ns[order[:-1]]
    twice = np.concatenate([[False], same]) | np.concatenate([same, [False]])
    suspects = order[twice].tolist()
    starts, ends = _line_bounds(content, faulty)
    repeated = np.zeros(t_wall_ns.size, dtype=np.bool_)
    for _, rows in groupby(suspects, key=lambda row: int(t_wall_ns[row])):
        lines = ((row, content[starts[row] : ends[row]]) for row in rows)
        repeated[list(_repeated(lines))] = True
    return repeated if repeated.any() else None


def _repeated(lines: Iterator[tuple[int, bytes]]) -> Iterator[int]:
    """Yield the numbers of rows that say what one before them said."""
    texts: set[bytes] = set()
    said: set[bytes] = set()
    for row, line in lines:
        text = blake2b(line, digest_size=16).digest()
        if text in texts:
            yield row
            continue
        texts.add(text)
        try:
            identity = row_identity(parse_object(line))
        except ValueError:
            # Nested deeper than it can be written: its text alone says what it is.
            continue
        if identity in said:
            yield row
        said.add(identity)


def _line_bounds(
    content: bytes, faulty: Collection[int]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where the lines that are rows begin and end."""
    feeds = np.flatnonzero(np.frombuffer(content, dtype=np.uint8) == ord("\n"))
    starts = np.concatenate([[0], feeds + 1])
    ends = np.concatenate([feeds, [len(content)]])
    sound = np.ones(starts.size, dtype=np.bool_)
    sound[[line - 1 for line in faulty if line <= starts.size]] = False
    return starts[sound], ends[sound]

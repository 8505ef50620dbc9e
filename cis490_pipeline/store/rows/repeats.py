"""Detection of rows delivered twice: equal to an earlier row in every field.

Equal rows have equal times, so only rows with a repeated time are compared, usually none. Repeats
need not be adjacent, because a whole batch may have been resent.
"""

from collections.abc import Collection, Iterator, Mapping
from hashlib import blake2b
from itertools import groupby

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain.arrays import Bools
from cis490_pipeline.storage.json_text import Json
from cis490_pipeline.store.rows.strict_json import canonical_text, parse_object


def row_identity(row: Mapping[str, Json]) -> bytes:
    """Digest of a row's content: equal for rows that are equal in every field.

    A null field counts as absent, ``5.0`` equals 5, and order and whitespace are ignored.
    """
    fields = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in row.items()
        if value is not None
    }
    return blake2b(canonical_text(fields), digest_size=16).digest()


def repeated_rows(
    content: bytes, t_wall_ns: npt.NDArray[np.int64], faulty: Collection[int]
) -> Bools | None:
    """Mask of rows equal to an earlier one in every field; ``None`` if there are none.

    Parameters
    ----------
    t_wall_ns : (n_rows,) time of each row in line order, Unix ns.
    faulty : numbers of the invalid lines, from 1.
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
    """Yield the numbers of rows that repeat an earlier one."""
    texts: set[bytes] = set()
    identities: set[bytes] = set()
    for row, line in lines:
        text = blake2b(line, digest_size=16).digest()
        if text in texts:
            yield row
            continue
        texts.add(text)
        try:
            identity = row_identity(parse_object(line))
        except ValueError:
            # Nested too deeply to serialize, so only its text is compared.
            continue
        if identity in identities:
            yield row
        identities.add(identity)


def _line_bounds(
    content: bytes, faulty: Collection[int]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Start and end of each valid line."""
    feeds = np.flatnonzero(np.frombuffer(content, dtype=np.uint8) == ord("\n"))
    starts = np.concatenate([[0], feeds + 1])
    ends = np.concatenate([feeds, [len(content)]])
    sound = np.ones(starts.size, dtype=np.bool_)
    sound[[line - 1 for line in faulty if line <= starts.size]] = False
    return starts[sound], ends[sound]

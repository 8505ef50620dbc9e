"""Strict parsing of telemetry rows; faults name file, line and field.

Parse the whole file with msgspec; only if a cheap column check fails, re-parse line by line, which
is fifty times slower, to locate the fault. The column check covers what msgspec accepts: duplicate
keys, rows that are not one per line, wrong types and integers beyond 64 bits. Most files are parsed
by the faster `uniform` reader instead. Files are read in chunks of 8 MiB, which bounds memory and
limits the slow path to chunks with a bad line.

Lines end in LF or CRLF, optionally at the end of the file. Faults are: a truncated last line, an
empty line, a byte order mark, two objects on a line or one on two lines, NaN, infinities (also
``1e999``), half a surrogate pair, a duplicate key at any depth, and a line over 1 MiB. ``5.0`` is
not an integer, integers beyond 64 bits are faults, and a string is not a number.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import NoneType
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import Source
from cis490_pipeline.storage.json_text import Json
from cis490_pipeline.store.rows.columns import TIME, Columns
from cis490_pipeline.store.rows.repeats import repeated_rows
from cis490_pipeline.store.rows.row import (
    ENVELOPE,
    FIELDS,
    INT64,
    MAX_AMOUNT,
    MAX_NAME,
    RowFault,
    SourceFields,
    checked_row,
)
from cis490_pipeline.store.rows.strict_json import MAX_LINE_BYTES
from cis490_pipeline.store.rows.uniform import read_uniform_rows

MAX_FAULTS: Final = 20
"""Maximal number of faulty lines reported per file; reading stops there."""
MAX_LINES: Final = 2_000_000
"""Limit on lines per file: 55 hours at 10 Hz, more than a real file of 256 MiB has."""
_PIECE_BYTES: Final = 8 << 20
_MAX_UNKNOWN: Final = 1000
_FEED, _OPEN, _CLOSE = b"\n{}"
_NO_ROWS: Final = Columns({TIME: np.empty(0, dtype=np.int64)})
_DECODER: Final = msgspec.json.Decoder(dict[str, Json])


@dataclass(frozen=True, kw_only=True)
class SourceRows:
    """The rows of one source."""

    columns: Columns
    """``t_wall_ns`` (ns, always known) and the channels present, by canonical name in registry
    order; integers, or floats for a decimal channel."""
    faults: list[RowFault] = field(default_factory=list)
    """At most 20, in file order; rows after the twentieth fault are missing."""
    n_lines: int = 0
    """Number of lines, including faulty ones."""
    n_repeated: int = 0
    """Number of rows equal to an earlier one in every field; not included in the columns."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Number of rows with each field that is neither channel, alias nor envelope; at most a
    thousand names."""

    @property
    def frame(self) -> pl.DataFrame:
        """The columns as a frame: Int64, or Float64 for a decimal channel; null is unknown."""
        return self.columns.frame


def read_rows(source: Source, content: bytes) -> SourceRows:
    """Parse the member of one source, one JSON object per line.

    Faulty lines are excluded from the columns and listed in ``faults``.
    """
    fields = FIELDS[source]
    # Counting costs a tenth of parsing and is only needed for files with that many bytes.
    if len(content) > MAX_LINES and (n_lines := _line_count(content)) > MAX_LINES:
        problem = f"{n_lines} lines, at most {MAX_LINES} are read"
        fault = RowFault(source.member, MAX_LINES + 1, None, problem)
        return SourceRows(columns=_NO_ROWS, faults=[fault], n_lines=n_lines)
    parts: list[Columns] = []
    faults: list[RowFault] = []
    unknown: Counter[str] = Counter()
    n_before = 0
    for piece in _pieces(content):
        part = _read_at_once(fields, piece)
        if part is None or _has_vast_amount(fields, part.columns):
            lines = piece.removesuffix(b"\n").split(b"\n")
            part = _read_line_by_line(fields, lines, n_before, MAX_FAULTS - len(faults))
        n_before += part.n_lines
        parts.append(part.columns)
        faults.extend(part.faults)
        unknown.update(part.unknown)
        for name in list(unknown)[_MAX_UNKNOWN:]:
            del unknown[name]
        if len(faults) >= MAX_FAULTS:
            n_before = _line_count(content)
            break
    columns = _canonical(fields, _joined(parts))
    return SourceRows(columns=columns, faults=faults, n_lines=n_before, unknown=unknown)


def read_rows_once(source: Source, content: bytes) -> SourceRows:
    """Parse the member of one source like `read_rows`, dropping rows delivered twice."""
    read = read_rows(source, content)
    faulty = {fault.line for fault in read.faults}
    repeated = repeated_rows(content, read.columns.times, faulty)
    if repeated is None:
        return read
    columns = read.columns.of_rows(~repeated)
    return replace(read, columns=columns, n_repeated=int(repeated.sum()))


def _has_vast_amount(fields: SourceFields, columns: Columns) -> bool:
    amounts = (columns.readings(name) for name in fields.amounts & columns.values.keys())
    return any(readings.size and readings.max() > MAX_AMOUNT for readings in amounts)


def _line_count(content: bytes) -> int:
    return content.count(b"\n") + (not content.endswith(b"\n") and bool(content))


def _pieces(content: bytes) -> Iterator[bytes]:
    """Yield the file in chunks that end at line ends."""
    start = 0
    while len(content) - start > _PIECE_BYTES:
        end = content.rfind(b"\n", start, start + _PIECE_BYTES) + 1
        if not end:
            end = content.find(b"\n", start + _PIECE_BYTES) + 1 or len(content)
        yield content[start:end]
        start = end
    if start < len(content):
        yield content[start:] if start else content


def _joined(parts: list[Columns]) -> Columns:
    filled = [part for part in parts if part.n_rows]
    if len(filled) > 1:
        return Columns.of(pl.concat([part.frame for part in filled], how="diagonal"))
    return filled[0] if filled else _NO_ROWS


def _read_at_once(fields: SourceFields, piece: bytes) -> SourceRows | None:
    """Parse all lines at once; ``None`` if any is, or might be, faulty."""
    rows = _read_uniform(fields, piece)
    if rows is not None:
        return rows
    octets = np.frombuffer(piece, dtype=np.uint8)
    feeds = np.flatnonzero(octets == _FEED)
    n_lines = feeds.size + int(not piece.endswith(b"\n"))
    if not _is_one_row_a_line(octets, feeds):
        return None
    if np.diff(feeds, prepend=-1, append=octets.size).max() > MAX_LINE_BYTES:
        return None
    # Without escapes and without space before colons, every key ends in `":`, so that counting
    # bytes counts keys. (The uniform reader validates its first row instead.)
    odd = (b"\\", b" :", b"\t:", b"\r:", b"\n:")
    return None if any(sign in piece for sign in odd) else _read_shapes(fields, piece, n_lines)


def _is_one_row_a_line(octets: npt.NDArray[np.uint8], feeds: npt.NDArray[np.intp]) -> bool:
    """Whether every line feed is between ``}`` and ``{``."""
    if octets[0] != _OPEN or (feeds.size and feeds[0] == 0):
        return False
    starts = feeds[:-1] if feeds.size and feeds[-1] == octets.size - 1 else feeds
    return bool((octets[feeds - 1] == _CLOSE).all() and (octets[starts + 1] == _OPEN).all())


def _read_uniform(fields: SourceFields, content: bytes) -> SourceRows | None:
    """Parse rows that differ only in their numbers; ``None`` for others or faulty ones."""
    read = read_uniform_rows(content)
    if read is None:
        return None
    names = _sound_names(fields.source, read.shape)
    columns = read.columns
    if names is None or not columns.keys() >= {key for _, key in names}:
        return None
    values = {
        name: columns[key].astype(np.float64, copy=False)
        if name in fields.decimal
        else columns[key]
        for name, key in names
    }
    return SourceRows(columns=Columns(values), n_lines=read.n_lines)


@lru_cache(maxsize=64)
def _sound_names(source: Source, line: bytes) -> tuple[tuple[str, str], ...] | None:
    """Names and keys of the columns, from one line that represents all.

    Other lines differ only in the values of numbers, not their types. ``None`` if the line is
    faulty, or has unknown keys or two keys of one channel.
    """
    fields = FIELDS[source]
    row, fault = checked_row(source, line, 1)
    names = {fields.canonical[key]: key for key in row if key in fields.canonical}
    plain = row.keys() <= ENVELOPE | fields.known and len(names) == len(row.keys() - ENVELOPE)
    if fault is not None or not plain:
        return None
    return (TIME, TIME), *((name, names[name]) for name in fields.aliases if name in names)


def _read_shapes(fields: SourceFields, content: bytes, n_lines: int) -> SourceRows | None:
    """Parse rows with arbitrary keys at once; ``None`` if any is, or might be, faulty."""
    try:
        rows = _DECODER.decode_lines(content)
    except (ValueError, RecursionError):
        return None
    # Fewer keys in memory than in the file: a duplicate key, or a nested object.
    if len(rows) != n_lines or content.count(b'":') != sum(map(len, rows)):
        return None
    columns, unknown = _columns(fields, rows)
    if not all(_is_sound(fields, name, values) for name, values in columns.items()):
        return None
    kept = {name: columns[name] for name in columns if name not in ENVELOPE or name == TIME}
    frame = pl.DataFrame(kept, schema={name: fields.dtype(name) for name in kept})
    return SourceRows(columns=Columns.of(frame), n_lines=n_lines, unknown=unknown)


def _columns(
    fields: SourceFields, rows: list[dict[str, Json]]
) -> tuple[dict[str, list[Any]], Counter[str]]:
    """Transpose rows to columns (null for missing fields) and count unknown fields."""
    names: Counter[str] = Counter()
    # Recorders write the same keys in every row, so there are few distinct shapes.
    for shape, size in Counter(map(tuple, rows)).items():
        names.update(dict.fromkeys(shape, size))
    known = fields.known | ENVELOPE
    columns = {name: [row.get(name) for row in rows] for name in names if name in known}
    columns.setdefault(TIME, [None] * len(rows))
    unknown: Counter[str] = Counter()
    for name, n in names.items():
        if name not in known:
            unknown[name[:MAX_NAME]] += n
    return columns, unknown


def _is_sound(fields: SourceFields, name: str, values: list[Any]) -> bool:
    types = set(map(type, values))
    if name == TIME and NoneType in types:
        return False
    types.discard(NoneType)
    if name == "source":
        return types <= {str} and set(values) <= {None, fields.source.row_tag}
    if name == "available_in_deployment":
        return types <= {bool}
    if not types <= ({int, float} if name in fields.decimal else {int}):
        return False
    numbers = [value for value in values if value is not None]
    return not numbers or (min(numbers) >= INT64[0] and max(numbers) <= INT64[-1])


def _read_line_by_line(
    fields: SourceFields, lines: list[bytes], n_before: int = 0, max_faults: int = MAX_FAULTS
) -> SourceRows:
    """Parse lines one by one, up to the maximal number of faults."""
    faults: list[RowFault] = []
    unknown: Counter[str] = Counter()
    names: dict[str, None] = {TIME: None}
    rows: list[dict[str, Json]] = []
    for number, line in enumerate(lines, n_before + 1):
        row, fault = checked_row(fields.source, line, number)
        if fault is not None:
            faults.append(fault)
            if len(faults) == max_faults:
                break
            continue
        kept = {name: row[name] for name in row if name == TIME or name in fields.known}
        names.update(dict.fromkeys(kept))
        rows.append(kept)
        unknown.update(name[:MAX_NAME] for name in row if name not in kept and name not in ENVELOPE)
    frame = pl.DataFrame(
        {name: [row.get(name) for row in rows] for name in names},
        schema={name: fields.dtype(name) for name in names},
    )
    return SourceRows(columns=Columns.of(frame), faults=faults, n_lines=len(lines), unknown=unknown)


def _canonical(fields: SourceFields, columns: Columns) -> Columns:
    """Rename aliased columns to their channel; the canonical name takes precedence."""
    given = columns.values
    if list(given) == [TIME, *(name for name in fields.aliases if name in given)]:
        return columns
    chosen = [pl.col(TIME)]
    for name, aliases in fields.aliases.items():
        present = [pl.col(known) for known in (name, *aliases) if known in given]
        if present:
            chosen.append(pl.coalesce(present).alias(name))
    return Columns.of(columns.frame.select(chosen))

"""Strict parsing of a single telemetry row, with faults named by field.

Fifty times slower than parsing a whole file at once; used to locate faults, and on devices, which
send about thirty rows per second.
"""

import math
from collections.abc import Iterable, KeysView, Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from cis490_pipeline.domain import CHANNELS, Kind, Source
from cis490_pipeline.storage.json_text import Json
from cis490_pipeline.store.rows.columns import TIME
from cis490_pipeline.store.rows.strict_json import DuplicateKeyError, parse_object

INT64: Final = range(-(2**63), 2**63)
MAX_AMOUNT: Final = 2**53
"""Limit on an amount in one interval. No network reaches it, and larger amounts would make all
later floating-point sums inexact."""
MAX_NAME: Final = 100
"""Maximal length of a field name in messages, characters."""
INTEGERS: Final = frozenset({"t_mono_ns", "t_guest_wall_ns", "t_guest_mono_ns"})
STATUS_TAG: Final = "agent_status"
"""``source`` of the rows that an agent writes of itself: in live streams only, never in a store."""
ENVELOPE: Final = INTEGERS | {TIME, "source", "available_in_deployment"}
"""Row fields other than channels."""


@dataclass(frozen=True)
class RowFault:
    """Fault of one line."""

    member: str
    line: int
    field: str | None
    problem: str

    def __str__(self) -> str:
        """Return ``MEMBER line N: FIELD: PROBLEM``."""
        where = f"{self.member} line {self.line}"
        return (
            f"{where}: {self.field}: {self.problem}" if self.field else f"{where}: {self.problem}"
        )


@dataclass(frozen=True)
class SourceFields:
    """Channel fields of one source: canonical names, aliases and types."""

    source: Source
    aliases: dict[str, tuple[str, ...]]
    decimal: frozenset[str]
    canonical: dict[str, str]
    """Column name of each field name."""
    amounts: frozenset[str]
    """Field names of amounts."""

    @property
    def known(self) -> KeysView[str]:
        """All field names."""
        return self.canonical.keys()

    def dtype(self, name: str) -> type[pl.DataType]:
        """Type of a field's column: integer, or float for a decimal channel."""
        return pl.Float64 if name in self.decimal else pl.Int64


def _fields_of(source: Source) -> SourceFields:
    channels = [channel for channel in CHANNELS if channel.source is source]
    return SourceFields(
        source=source,
        aliases={channel.field: channel.aliases for channel in channels},
        decimal=frozenset(name for c in channels if c.is_float for name in (c.field, *c.aliases)),
        canonical={name: c.field for c in channels for name in (c.field, *c.aliases)},
        amounts=frozenset(
            name for c in channels if c.kind is Kind.AMOUNT for name in (c.field, *c.aliases)
        ),
    )


FIELDS: Final = {source: _fields_of(source) for source in Source}


def checked_row(
    source: Source, line: bytes, number: int
) -> tuple[dict[str, Json], RowFault | None]:
    """Parse and validate one line, of the given number from 1, into the row or its fault."""
    member = source.member
    try:
        row = parse_object(line)
    except DuplicateKeyError as twice:
        return {}, RowFault(member, number, twice.key[:MAX_NAME], "is given twice")
    except ValueError as wrong:
        return {}, RowFault(member, number, None, f"not a JSON object: {wrong}")
    fault = row_fault(source, row, number)
    return ({}, fault) if fault is not None else (row, None)


def row_fault(source: Source, row: Mapping[str, Json], number: int) -> RowFault | None:
    """Return the first fault of a parsed row, or None; ``number`` is its line, from 1."""
    for name, problem in _field_problems(FIELDS[source], row):
        return RowFault(source.member, number, name[:MAX_NAME], problem)
    return None


def _field_problems(fields: SourceFields, row: Mapping[str, Json]) -> Iterable[tuple[str, str]]:
    if TIME not in row:
        yield TIME, "is missing"
    elif row[TIME] is None:
        yield TIME, "is null"
    for name, value in row.items():
        if value is None:
            continue
        if name in fields.decimal:
            problem = _decimal_problem(value)
        elif name == TIME or name in INTEGERS or name in fields.known:
            problem = _integer_problem(value, MAX_AMOUNT if name in fields.amounts else None)
        else:
            problem = _envelope_problem(fields.source, name, value)
        if problem:
            yield name, problem


def _integer_problem(value: object, most: int | None) -> str | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return f"must be an integer, got {value!r:.60}"
    if most is not None and most < value <= INT64[-1]:
        return f"must be at most 2^53 in one interval, got {value}"
    return None if value in INT64 else f"must fit 64 bits, got {value!s:.60}"


def _decimal_problem(value: object) -> str | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return f"must be a number, got {value!r:.60}"
    # An integer too large for a float would overflow in isfinite.
    if isinstance(value, int) and value not in INT64:
        return f"must fit 64 bits, got {value!s:.60}"
    return None if math.isfinite(value) else f"must be finite, got {value}"


def _envelope_problem(source: Source, name: str, value: object) -> str | None:
    if name == "source" and value == STATUS_TAG:
        return "is an agent's own state, which belongs into no store; leave such rows out"
    if name == "source" and value != source.row_tag:
        return f"must be {source.row_tag!r}, got {value!r:.60}"
    if name == "available_in_deployment" and not isinstance(value, bool):
        return f"must be true or false, got {value!r:.60}"
    return None

"""Parse arriving lines as rows of a known source, or of the source that the row names."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final

from cis490_pipeline.domain import Source
from cis490_pipeline.features.channels import source_channels
from cis490_pipeline.live.feeds.agent_status import AgentStatus, read_status
from cis490_pipeline.storage.json_text import Json
from cis490_pipeline.store.rows.columns import TIME
from cis490_pipeline.store.rows.repeats import row_identity
from cis490_pipeline.store.rows.row import MAX_NAME, STATUS_TAG, RowFault, row_fault
from cis490_pipeline.store.rows.strict_json import DuplicateKeyError, parse_object

Reading = int | float | None

_TAGS: Final = {source.row_tag: source for source in Source}


@dataclass(frozen=True, slots=True)
class LiveRow:
    """Row of one source."""

    source: Source
    t_wall_ns: int
    """Unix time of the reading, ns."""
    values: tuple[Reading, ...]
    """Readings of the source's channels in the registry's order; None is unknown."""
    identity: bytes = field(default=b"", compare=False)
    """Equal for rows that are equal in every field, including fields that are no readings. Not
    compared: rows are equal by their readings."""


def read_line(
    line: bytes, *, place: str, number: int, source: Source | None = None
) -> LiveRow | AgentStatus | RowFault:
    """Parse one line into a row, an agent's status if rows name their source, or its fault.

    Parameters
    ----------
    place : origin of the line, for the fault: a file's name, ``stdin``, a connection.
    number : line number there, from 1.
    source : source of the row; None if each row names its own in ``source``.
    """
    try:
        row = parse_object(line)
        identity = row_identity(row)
    except DuplicateKeyError as twice:
        return RowFault(place, number, twice.key[:MAX_NAME], "is given twice")
    except ValueError as wrong:
        return RowFault(place, number, None, f"not a JSON object: {wrong}")
    if source is None and row.get("source") == STATUS_TAG:
        return read_status(row, place, number)
    named = source or _TAGS.get(str(row.get("source")))
    if named is None:
        problem = f"must be one of {', '.join(_TAGS)}, got {row.get('source')!r:.60}"
        return RowFault(place, number, "source", problem)
    fault = row_fault(named, row, number)
    if fault is not None:
        return replace(fault, member=place)
    values = tuple(_reading(row, names) for names in _names(named))
    t_wall_ns = row[TIME]
    assert isinstance(t_wall_ns, int), "checked by row_fault"
    return LiveRow(named, t_wall_ns, values, identity)


@cache
def _names(source: Source) -> tuple[tuple[str, ...], ...]:
    """For each channel of a source, its possible names, the registry's first."""
    return tuple((c.field, *c.aliases) for _, c in source_channels(source))


def _reading(row: Mapping[str, Json], names: tuple[str, ...]) -> Reading:
    for name in names:
        reading = row.get(name)
        if isinstance(reading, (int, float)):
            return reading
    return None

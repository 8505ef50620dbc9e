"""Receiver index: shipments as one validated JSON object per line."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, BinaryIO, Final

import msgspec

from cis490_pipeline.domain import HOST_ID_FORM, EpisodeRef, is_episode_id, is_host_id

INDEX_FILE: Final = "index.jsonl"
MAX_INDEX_BYTES: Final = 1 << 30
"""Limit on the size of the index; enough for four million rows."""
_MAX_LINE_BYTES: Final = 1 << 16
_MAX_NAMED: Final = 1000
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_FIRST_TIME: Final = datetime(1970, 1, 2, tzinfo=UTC)
_LAST_TIME: Final = datetime(2262, 1, 1, tzinfo=UTC)
"""Upper end of what 64-bit Unix ns can represent."""

_Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{64}$")]
_Int64 = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


@dataclass(frozen=True, kw_only=True)
class IndexRow:
    """The receiver's index entry of one episode."""

    ref: EpisodeRef
    received_at_wall: str
    """ISO 8601 UTC time of the *first* shipment, so that reshipping moves no split; always with
    microseconds and ``Z``, so that text order is time order."""
    sha256: str | None
    """SHA-256 of the last shipped archive, in lower case; ``None`` for an unpacked folder."""
    bytes: int | None
    schema_version: int
    commit: str | None = None
    earlier_sha256: tuple[str, ...] = ()
    """Differing digests in earlier rows of the episode."""


@dataclass
class LeftOut:
    """Ignored items: their number, and the first of them with the reason."""

    n: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Count one item; the first thousand texts are kept."""
        self.n += 1
        if len(self.first) < _MAX_NAMED:
            self.first.append(text)


@dataclass(frozen=True, kw_only=True)
class StoreIndex:
    """Parsed index: the last row of each episode, and the ignored lines with reasons."""

    rows: dict[EpisodeRef, IndexRow] = field(default_factory=dict)
    skipped: LeftOut = field(default_factory=LeftOut)


class _ShipmentRow(msgspec.Struct):
    """One line of ``index.jsonl``; unknown keys are ignored."""

    received_at_wall: str
    host_id: str
    episode_id: str
    sha256: _Sha256 | None
    bytes: _Int64 | None
    schema_version: _Int64
    commit: str | None = None


_DECODER: Final = msgspec.json.Decoder(_ShipmentRow)


def bounded_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield lines; one over 64 KiB is truncated, which makes it invalid."""
    while line := stream.readline(_MAX_LINE_BYTES):
        yield line
        while len(line) == _MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = stream.readline(_MAX_LINE_BYTES)


def parse_index(lines: Iterable[bytes]) -> StoreIndex:
    """Parse the lines of an index; invalid lines are skipped and reported.

    Of an episode shipped twice, the last row counts, with the first row's time.
    """
    index = StoreIndex()
    for number, given in enumerate(lines, 1):
        line = given.removeprefix(_BYTE_ORDER_MARK) if number == 1 else given
        if not line.strip():
            continue
        try:
            row = _parse_row(line)
        except (ValueError, RecursionError) as wrong:
            index.skipped.add(f"{INDEX_FILE} line {number}: {wrong!s:.200}")
            continue
        earlier = index.rows.get(row.ref)
        index.rows[row.ref] = row if earlier is None else _shipped_again(earlier, row)
    return index


def _shipped_again(earlier: IndexRow, row: IndexRow) -> IndexRow:
    digests = {*earlier.earlier_sha256, earlier.sha256} - {None, row.sha256}
    return replace(
        row,
        received_at_wall=min(earlier.received_at_wall, row.received_at_wall),
        earlier_sha256=tuple(sorted(digest for digest in digests if digest)),
    )


def _parse_row(line: bytes) -> IndexRow:
    if len(line) >= _MAX_LINE_BYTES:
        raise ValueError(f"has over {_MAX_LINE_BYTES} bytes")
    row = _DECODER.decode(line)
    if not is_host_id(row.host_id):
        raise ValueError(f"host_id {row.host_id!r} is not {HOST_ID_FORM}")
    if not is_episode_id(row.episode_id):
        raise ValueError(f"episode_id {row.episode_id!r} is not a ULID in capitals")
    received = datetime.fromisoformat(row.received_at_wall)
    if received.utcoffset() != timedelta(0):
        raise ValueError(f"received_at_wall {row.received_at_wall!r} is not in UTC (…Z)")
    if not _FIRST_TIME <= received < _LAST_TIME:
        raise ValueError(f"received_at_wall {row.received_at_wall!r} is not from 1970 to 2262")
    return IndexRow(
        ref=EpisodeRef(row.host_id, row.episode_id),
        # Always with microseconds: as text, "…:00.5Z" would sort before "…:00Z".
        received_at_wall=received.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        sha256=row.sha256 and row.sha256.lower(),
        bytes=row.bytes,
        schema_version=row.schema_version,
        commit=row.commit,
    )

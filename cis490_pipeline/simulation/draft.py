"""A simulated episode in the episode format: meta, labels, events, rows and archive."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, TypedDict

import msgspec

from cis490_pipeline.domain import CHANNELS, EpisodeRef, Source
from cis490_pipeline.simulation.recorders import Columns
from cis490_pipeline.store.writing import LabelLine, pack

_ENCODER: Final = msgspec.json.Encoder()
Meta = dict[str, Any]
"""Content of ``meta.json``; open, because faults take keys away and give others wrong values."""


class EventLine(TypedDict):
    """A line of ``events.jsonl``."""

    event: str
    t_mono_ns: int
    t_wall_ns: int
    simulated: bool


@dataclass(kw_only=True)
class Draft:
    """An episode before it is written; faults are injected here."""

    ref: EpisodeRef
    meta: Meta
    labels: list[LabelLine]
    events: list[EventLine]
    rows: dict[Source, Columns]
    t0_ns: int
    end_ns: int
    raw: dict[str, bytes | None] = field(default_factory=dict)
    """Members given as bytes, replacing or adding to the usual ones; ``None`` omits one."""
    links: list[str] = field(default_factory=list)
    """Names of symbolic links to add to the archive."""

    def count_rows(self) -> None:
        """Set the row counts in ``meta.result``."""
        for source in Source:
            self.meta["result"][f"rows_{source}"] = int(self.rows[source]["t_wall_ns"].size)

    def members(self) -> dict[str, bytes]:
        """Return the members' bytes by name."""
        usual: dict[str, bytes | None] = {
            "meta.json": _ENCODER.encode(self.meta),
            "labels.jsonl": _ENCODER.encode_lines(self.labels),
            "events.jsonl": _ENCODER.encode_lines(self.events),
            **{source.member: row_lines(source, self.rows[source]) for source in Source},
            "done.marker": b"",
        }
        return {name: x for name, x in (usual | self.raw).items() if x is not None}

    def archive(self) -> bytes:
        """Return the ``.tar.zst``; equal contents give equal bytes."""
        return pack(self.members(), self.links)


def row_lines(source: Source, columns: Columns) -> bytes:
    """Encode one source's rows as JSON lines."""
    row_type, names = _row_type(source)
    n = columns["t_wall_ns"].size
    values = [
        [source.row_tag] * n
        if name == "source"
        else [source.deployable] * n
        if name == "available_in_deployment"
        else columns[name].tolist()
        for name in names
    ]
    return _ENCODER.encode_lines(list(map(row_type, *values))) if n else b""


@cache
def _row_type(source: Source) -> tuple[type[msgspec.Struct], tuple[str, ...]]:
    """Return a struct type for one source's rows, which encodes many times faster than a dict."""
    own_clocks = ("t_guest_wall_ns", "t_guest_mono_ns") if source is Source.GUEST else ()
    names = (
        *("t_wall_ns", "t_mono_ns", "source", "available_in_deployment"),
        *own_clocks,
        *(channel.field for channel in CHANNELS if channel.source is source),
    )
    return msgspec.defstruct(f"{source}_row", [(name, Any) for name in names], gc=False), names

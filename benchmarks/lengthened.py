"""Recorded episodes made longer: the size of a lab's, in a run that goes on as it went."""

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.scale_page import LAB_BYTES, LAB_EPISODES
from benchmarks.stores import Episodes
from cis490_pipeline.domain import CHANNELS, NS_PER_S, Kind, Source
from cis490_pipeline.store.archive.unpack import LABELS, META
from cis490_pipeline.store.writing import wall_text

_CLOCKS = ("t_wall_ns", "t_mono_ns", "t_guest_wall_ns", "t_guest_mono_ns")


def lab_sized(episodes: Episodes) -> Episodes:
    """Lengthen episodes until they hold as many bytes as a lab's do on average."""
    n_bytes = sum(len(content) for members in episodes.values() for content in members.values())
    factor = LAB_BYTES / LAB_EPISODES / (n_bytes / len(episodes))
    return {ref: lengthened(members, factor) for ref, members in episodes.items()}


def lengthened(members: Mapping[str, bytes], factor: float) -> dict[str, bytes]:
    """Let an episode last longer: its rows again and again, later and counting on.

    Parameters
    ----------
    members : of a sound episode whose rows hold no number that is unknown.
    factor : by how much, at least 1.

    Returns
    -------
    dict
        Members of a sound episode. Labels and events stay, so that the last phase is the longer
        one; every row's clocks go on by the length of the run each time round, and every counter
        by what it grew in it.
    """
    meta = json.loads(members[META])
    t0_ns = json.loads(members[LABELS].partition(b"\n")[0])["t_wall_ns"]
    lasted_ns = round(meta["result"]["duration_observed_s"] * NS_PER_S)
    lasts_ms = round(lasted_ns * factor / 1e6)
    longer = dict(members)
    for source in Source:
        rows = [json.loads(line) for line in members[source.member].splitlines()]
        again = _again(source, rows, t0_ns, lasted_ns, t0_ns + lasts_ms * 10**6)
        meta["result"][f"rows_{source}"] = len(again)
        longer[source.member] = "".join(
            json.dumps(row, separators=(",", ":")) + "\n" for row in again
        ).encode()
    meta["result"]["duration_observed_s"] = lasts_ms / 1e3
    meta["ended_at_wall"] = wall_text(t0_ns + lasts_ms * 10**6)
    longer[META] = json.dumps(meta).encode()
    return longer


def _again(
    source: Source, rows: list[dict[str, Any]], t0_ns: int, lasted_ns: int, end_ns: int
) -> list[dict[str, Any]]:
    counters = {c.field for c in CHANNELS if c.source is source and c.kind is Kind.COUNTER}
    once = [row for row in rows if row["t_wall_ns"] <= t0_ns + lasted_ns]
    grown = {name: once[-1][name] - once[0][name] for name in counters & once[0].keys()}
    on_by = dict.fromkeys(_CLOCKS, lasted_ns) | grown
    again, n = [], 0
    while t0_ns + n * lasted_ns < end_ns:
        again += [
            {
                name: value + n * on_by[name] if name in on_by else value
                for name, value in row.items()
            }
            for row in once
            if (n == 0 or row["t_wall_ns"] > t0_ns) and row["t_wall_ns"] + n * lasted_ns <= end_ns
        ]
        n += 1
    return again

"""Rates, lateness, losses and waiting of recorded episodes, and how many an hour gives."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from benchmarks.recording.episodes import Recorded
from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.domain.arrays import Floats, Ints

PERIOD_NS = {Source.PROC: NS_PER_S // 10, Source.QMP: NS_PER_S, Source.GUEST: NS_PER_S}
"""Of the sources read on ticks; a netflow row carries the end of its bucket, which is exact."""
_GRID_NS = NS_PER_S // 10


def lateness_ms(t_ns: Ints, first_tick_ns: int, end_ns: int, period_ns: int) -> Floats:
    """Delay of the first row at or after each tick, ms.

    Parameters
    ----------
    t_ns : (n,) times of the rows, ascending.
    first_tick_ns : time of a tick; the others lie whole periods from it.
    end_ns : end of the recording.
    period_ns : between ticks.

    Returns
    -------
    (n_ticks,) ms; a tick without a row of its own counts with the row after it, so a source that
    was silent for a second has ten late ticks of proc, not one.
    """
    ticks = np.arange(first_tick_ns, end_ns, period_ns)
    position = np.searchsorted(t_ns, ticks)
    has_row = position < t_ns.size
    late: Floats = (t_ns[position[has_row]] - ticks[has_row]) / 1e6
    return late


def ticks_of(episode: Recorded, source: Source) -> tuple[Ints, int, int]:
    """Return the times of a source's rows, its first tick and the end, Unix ns.

    The recorder's ticks are whole periods of the host's monotonic clock, on which the first label
    lies at a multiple of 100 ms; those of the agent are whole periods of the guest's, from its own
    start: no row comes before its tick, so of many the least late says where in the period it is.
    """
    times, _ = episode.column(source, "t_wall_ns")
    period_ns, origin_ns = PERIOD_NS[source], episode.begin_ns
    first_ns = _earliest_phase_ns(times - origin_ns, period_ns)
    if source is not Source.GUEST:
        first_ns = first_ns // _GRID_NS * _GRID_NS
    return times, origin_ns + first_ns % period_ns, episode.end_ns


def _earliest_phase_ns(times_ns: Ints, period_ns: int) -> int:
    """Return where in the period the rows begin: after the longest stretch without any."""
    phases = np.sort(times_ns % period_ns)
    before = np.diff(phases, prepend=phases[-1] - period_ns)
    return int(phases[np.argmax(before)])


def row_of(episode: Recorded) -> dict[str, Any]:
    """Row of the table for one episode."""
    found: dict[str, Any] = {
        "episode": episode.episode_id,
        "host": episode.host,
        "profile": episode.profile,
        "verdict": episode.verdict,
        "details": [text for text in episode.details if not text.startswith("note: ")],
        "duration_s": episode.duration_s,
    }
    for source in Source:
        times, _ = episode.column(source, "t_wall_ns")
        inside = (times > episode.begin_ns) & (times <= episode.end_ns)
        found[f"{source}_hz"] = round(float(inside.sum()) / episode.duration_s, 3)
    for source, period_ns in PERIOD_NS.items():
        late = lateness_ms(*ticks_of(episode, source), period_ns)
        for share in (50, 99):
            found[f"{source}_late_p{share}_ms"] = round(float(np.percentile(late, share)), 2)
    noted, pressure = episode.meta["recording"], episode.meta["host_pressure"]
    agent = noted.get("agent") or {}
    return found | {
        "rows_dropped": agent.get("rows_dropped"),
        "rows_not_believed": noted["guest_rows_invalid"] + noted["guest_rows_implausible"],
        "agent_ticks_missed": agent.get("ticks_missed"),
        "agent_late_p99_ms": agent.get("lateness_p99_ms"),
        "packets": noted["packets"],
        "packets_dropped": noted["packets_dropped"],
        "wait_share": pressure["qemu_wait_share"],
        "cpu_some_share": pressure["some_share"]["cpu"],
        "load_1m": round(pressure["load_1m"], 2),
        "confirmed_late_s": noted["lateness_s"],
        "clock_uncertainty_ms": episode.meta["clocks"]["guest"]["uncertainty_ns"] / 1e6,
    }


def by_host(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians of the rows of each host; of losses the sums, of verdicts the number accepted."""
    ordered = sorted(rows, key=lambda row: str(row["host"]))
    return [
        _summary(host, list(group)) for host, group in groupby(ordered, key=lambda row: row["host"])
    ]


def _summary(host: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    names = [name for name, value in rows[0].items() if isinstance(value, float)]
    found: dict[str, Any] = {
        "host": host,
        "episodes": len(rows),
        "accepted": sum(row["verdict"] == "accepted" for row in rows),
    }
    for name in names:
        values = [row[name] for row in rows if row[name] is not None]
        found[name] = round(float(np.median(values)), 4) if values else None
    for name in ("rows_dropped", "rows_not_believed", "packets", "packets_dropped"):
        found[name] = sum(row[name] or 0 for row in rows)
    return found


def throughput(calls: Sequence[dict[str, Any]], episodes: Sequence[Recorded]) -> dict[str, Any]:
    """Episodes an hour of the calls that recorded, their last lanes' end included."""
    n = sum(call["recorded"] for call in calls)
    wall_s = sum(call["wall_s"] for call in calls if call["recorded"])
    return {
        "lanes": sorted({call["lanes"] for call in calls}),
        "episodes": n,
        "failures": [text for call in calls for text in call["failures"]],
        "wall_s": round(wall_s, 1),
        "episodes_per_hour": round(3600 * n / wall_s, 1) if wall_s else None,
        "mean_length_s": round(float(np.mean([e.duration_s for e in episodes])), 1),
        "load_at_start": [call["load"] for call in calls],
    }

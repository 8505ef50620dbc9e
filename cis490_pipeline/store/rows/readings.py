"""Selection of the readings that count, shared by validator, grid and live devices.

Rules, in this order
--------------------
1. A negative reading of a counter, gauge or amount is unknown.
2. The guest agent samples once a second. Faster readings are thinned to the last one in each second
   of the episode. It becomes visible to steps only when the second is over, since it would
   otherwise depend on whether another reading follows.
3. Counter readings closer than 0.2 nominal intervals are merged.

A device that runs for months cannot keep its rows. A `Past` per channel summarizes discarded rows,
so that later rows count exactly as if all rows were kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import CHANNELS, NS_PER_S, Channel, Kind, Source
from cis490_pipeline.domain.arrays import Ints
from cis490_pipeline.store.rows.columns import Columns, Numbers, Past

MERGE_INTERVALS: Final = 0.2
"""Counter readings closer than this many nominal intervals are merged."""
FAST_READINGS: Final = 3
FAST_INTERVALS: Final = 2.0
"""A reading is fast if the third before it is less than two nominal intervals ago, which cannot
happen at the nominal rate, even with jitter of a whole interval."""
THINNED: Final = frozenset({Source.GUEST})
"""Sources whose fast readings are thinned to the last one in each second."""


_OF_SOURCE: Final = {s: tuple(c for c in CHANNELS if c.source is s) for s in Source}
_FAR: Final = 2**63 - 4 * NS_PER_S
"""Limit on the absolute time, so that the end of its second fits 64 bits."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Readings:
    """Counted readings of channels that are known in the same rows.

    Attributes
    ----------
    names : names of the channels' columns.
    rows : (n,) row number of each reading; -1 for one from a discarded row.
    t_wall_ns : (n,) time of each, Unix ns, monotonic.
    visible_ns : (n,) time from which steps may use each, Unix ns, monotonic.
    values : (n, n_channels).
    past : summary of discarded rows, by name.
    """

    names: tuple[str, ...]
    rows: npt.NDArray[np.intp]
    t_wall_ns: Ints
    visible_ns: Ints
    values: Numbers
    past: Mapping[str, Past] = field(default_factory=dict)


def nominal_ns(source: Source) -> int:
    """Nominal time between two rows of a source, ns."""
    return round(NS_PER_S / source.rate_hz)


def counter_names(source: Source, columns: Columns) -> list[str]:
    """Names of the source's recorded counters, in registry order."""
    return [c.field for c in _of_kind(source, Kind.COUNTER) if c.field in columns.values]


def unsteady_names(source: Source) -> frozenset[str]:
    """Names of the source's counters whose falls are not restarts."""
    return frozenset(c.field for c in _of_kind(source, Kind.COUNTER) if c.may_fall)


def without_negatives(source: Source, columns: Columns) -> Columns:
    """Mark negative readings as unknown; returns the same columns if there are none."""
    if not columns.has_negatives:
        return columns
    known: dict[str, npt.NDArray[np.bool_]] = {}
    for channel in _OF_SOURCE[source]:
        values = columns.values.get(channel.field)
        # NaN compares false and is also unknown.
        if values is None or not values.size or values.min() >= 0:
            continue
        there = values >= 0
        before = columns.known.get(channel.field)
        known[channel.field] = there if before is None else there & before
    return replace(columns, known={**columns.known, **known}) if known else columns


def kept_readings(t_wall_ns: Ints, min_gap_ns: float) -> npt.NDArray[np.bool_]:
    """Mask (n_rows,) of readings that rates are measured between, ``min_gap_ns`` apart or more.

    Of readings too close together the first is kept (of equal times the last): keeping the last
    would make a step depend on whether another reading follows.
    """
    keep = np.ones(t_wall_ns.size, dtype=np.bool_)
    if (t_wall_ns[1:] - t_wall_ns[:-1] >= max(min_gap_ns, 1)).all():
        return keep
    keep[:-1] = np.diff(t_wall_ns) > 0
    rows = np.flatnonzero(keep)
    t = t_wall_ns[rows]
    anchor_ns = 0
    dropped_before = -1
    for i in np.flatnonzero(np.diff(t) < min_gap_ns) + 1:
        if dropped_before != i - 1:
            anchor_ns = int(t[i - 1])
        if t[i] - anchor_ns < min_gap_ns:
            keep[rows[i]] = False
            dropped_before = int(i)
    return keep


def counted_readings(
    source: Source,
    columns: Columns,
    names: Sequence[str],
    *,
    anchor_ns: int | None,
    min_gap_ns: float | None,
) -> list[Readings]:
    """Select the counted readings of counters or gauges, grouped by the rows they are known in.

    Parameters
    ----------
    columns : rows in time order, without negative readings.
    anchor_ns : start of a second of the episode, Unix ns; ``None`` disables thinning.
    min_gap_ns : counter readings closer than this are merged; ``None`` for gauges.
    """
    groups: dict[tuple[bytes, str], list[str]] = {}
    for name in names:
        known, past = columns.known.get(name), columns.past.get(name)
        mask = b"" if known is None else known.tobytes()
        since = (past.seen_ns, [reading[:2] for reading in past.counted]) if past else ""
        groups.setdefault((mask, str(since)), []).append(name)
    made = (_group(source, columns, tuple(g), anchor_ns, min_gap_ns) for g in groups.values())
    return [group for group in made if group.t_wall_ns.size]


def distinct_times(source: Source, columns: Columns, *, anchor_ns: int | None) -> Ints:
    """Distinct, thinned times with a known reading, Unix ns."""
    masks = [columns.known.get(c.field) for c in _OF_SOURCE[source] if c.field in columns.values]
    if not masks:
        return columns.times[:0]
    t = columns.times
    if all(mask is not None for mask in masks):
        t = t[np.logical_or.reduce([mask for mask in masks if mask is not None])]
    if not (t[1:] > t[:-1]).all():
        t = t[np.diff(t, append=t[-1:] + 1) > 0]
    keep, _ = _thinned(source, t, (), anchor_ns)
    return t if keep is None else t[keep]


def seen_before(columns: Columns, name: str, n_rows: int) -> tuple[int, ...]:
    """Return the times of a channel's last readings (at most three) in the first rows, Unix ns."""
    known = columns.known.get(name)
    t = columns.times[:n_rows] if known is None else columns.times[:n_rows][known[:n_rows]]
    latest = t[np.diff(t, append=t[-1:] + 1) > 0][-FAST_READINGS:] if t.size else t
    before = columns.past[name].seen_ns if name in columns.past else ()
    return (*before, *latest.tolist())[-FAST_READINGS:]


def _of_kind(source: Source, kind: Kind) -> list[Channel]:
    return [channel for channel in _OF_SOURCE[source] if channel.kind is kind]


def _group(
    source: Source,
    columns: Columns,
    names: tuple[str, ...],
    anchor_ns: int | None,
    min_gap_ns: float | None,
) -> Readings:
    known = columns.known.get(names[0])
    past = {name: columns.past[name] for name in names if name in columns.past}
    first = past.get(names[0], Past())
    t = columns.times
    rows: npt.NDArray[np.intp] | None = None
    if known is not None:
        rows = np.flatnonzero(known)
        t = t[rows]
    visible = t
    if source in THINNED and anchor_ns is not None:
        if not (t[1:] > t[:-1]).all():
            later = np.diff(t, append=t[-1:] + 1) > 0
            rows, t = _chosen(rows, later), t[later]
        keep, visible = _thinned(source, t, first.seen_ns, anchor_ns)
        if keep is not None:
            rows, t, visible = _chosen(rows, keep), t[keep], visible[keep]
    values: npt.NDArray[Any] = np.stack(
        [columns.values[n] if rows is None else columns.values[n][rows] for n in names], axis=1
    )
    if rows is None:
        rows = np.arange(t.size)
    if min_gap_ns is not None and first.counted:
        rows = np.concatenate([np.full(len(first.counted), -1), rows])
        t = np.concatenate([[reading.t_wall_ns for reading in first.counted], t])
        visible = np.concatenate([[reading.visible_ns for reading in first.counted], visible])
        counts = [[reading.value for reading in past[n].counted] for n in names]
        values = np.concatenate([np.array(counts).T, values])
    if min_gap_ns is not None:
        keep = kept_readings(t, min_gap_ns)
        if not keep.all():
            rows, t, visible, values = rows[keep], t[keep], visible[keep], values[keep]
    return Readings(
        names=names, rows=rows, t_wall_ns=t, visible_ns=visible, values=values, past=past
    )


def _chosen(
    rows: npt.NDArray[np.intp] | None, wanted: npt.NDArray[np.bool_]
) -> npt.NDArray[np.intp]:
    return np.flatnonzero(wanted) if rows is None else rows[wanted]


def _thinned(
    source: Source, t: Ints, seen_ns: tuple[int, ...], anchor_ns: int | None
) -> tuple[npt.NDArray[np.bool_] | None, Ints]:
    """Mask of kept readings (``None``: all), and the time from which steps may use each."""
    if source not in THINNED or anchor_ns is None:
        return None, t
    limit_ns = FAST_INTERVALS * nominal_ns(source)
    together, before = t, np.array(seen_ns, dtype=np.int64)
    if seen_ns:
        together = np.concatenate([before, t])
    fast = np.zeros(together.size, dtype=np.bool_)
    fast[FAST_READINGS:] = together[FAST_READINGS:] - together[:-FAST_READINGS] < limit_ns
    fast = fast[before.size :]
    if not fast.any():
        return None, t
    phase = anchor_ns % NS_PER_S
    second = (np.clip(t, -_FAR, _FAR) - phase - 1) // NS_PER_S
    is_last = np.diff(second, append=second[-1:] + 1) > 0
    ends = (second + 1) * NS_PER_S + phase
    return ~fast | is_last, np.where(fast, np.maximum(ends, t), t)

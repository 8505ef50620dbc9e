"""Causal resampling of rows to the 10 Hz grid: counter rates, amounts and gauges.

Steps are intervals (start, end], and no step uses a reading from after its end. All functions take
several channels at once: (n_rows, n_channels), with one time per row.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import NS_PER_S, Kind, Source
from cis490_pipeline.domain.arrays import Floats, Ints
from cis490_pipeline.errors import TelemetryError
from cis490_pipeline.features.channels import N_CHANNELS, source_channels
from cis490_pipeline.store.rows.columns import TIME, Columns
from cis490_pipeline.store.rows.counters import Growth, growth_of
from cis490_pipeline.store.rows.readings import (
    MERGE_INTERVALS,
    Readings,
    counted_readings,
    nominal_ns,
    unsteady_names,
    without_negatives,
)

GRID_HZ: Final = 10
STEP_NS: Final = NS_PER_S // GRID_HZ
STALE_INTERVALS: Final = 3.0
"""A value older than this many nominal intervals at its step's end is unknown."""


# A held rate may come from before the first requested step, but not from so early that it is stale.
# With this many lead steps, a grid that starts late equals a part of one that starts early, so that
# live and batch features are identical.
_LEAD_STEPS: Final = int(STALE_INTERVALS * max(GRID_HZ / source.rate_hz for source in Source)) + 1


def step_edges(t0_ns: int, n_steps: int) -> Ints:
    """Compute the edges of the grid's steps, Unix ns: (n_steps + 1,)."""
    return t0_ns + STEP_NS * np.arange(n_steps + 1, dtype=np.int64)


def step_count(t0_ns: int, end_ns: int) -> int:
    """Count the whole steps between two times."""
    return max(0, (end_ns - t0_ns) // STEP_NS)


def counter_rates(
    readings: Readings, growth: Growth, edges_ns: Ints, nominal_interval_ns: int
) -> Floats:
    """Rate of counters over each step, from past readings only: (n_steps, n_channels), units/s.

    A step without a new reading holds the previous rate; NaN before the first rate, and when the
    last reading is older than 3 nominal intervals.
    """
    t, total = readings.t_wall_ns, growth.total
    # No interpolation, which would use readings from after the step's end.
    last = np.searchsorted(readings.visible_ns, edges_ns, side="right") - 1
    before, now = last[:-1], last[1:]
    is_fresh = (before >= 0) & (now > before)
    fresh = np.flatnonzero(is_fresh)
    since, until = before[fresh], now[fresh]
    grown = total.take(until, axis=0) - total.take(since, axis=0)
    rate = grown / ((t[until] - t[since]) / NS_PER_S)[:, None]
    if growth.dipped is not None:
        earlier = np.maximum(since - 1, 0)
        grown = total.take(until, axis=0) - total.take(earlier, axis=0)
        across = grown / ((t[until] - t[earlier]) / NS_PER_S)[:, None]
        rate = np.where(growth.dipped[since], across, rate)
    if growth.unknown is not None:
        n_unknown = np.cumsum(growth.unknown, axis=0)
        rate[n_unknown[until] > n_unknown[since]] = np.nan
    if not fresh.size:
        return np.full((now.size, total.shape[1]), np.nan)
    held = np.cumsum(is_fresh) - 1
    known = (held >= 0) & _is_recent(t, now, edges_ns, nominal_interval_ns)
    on_grid = rate.take(held, axis=0, mode="clip")
    on_grid[~known] = np.nan
    return on_grid


def last_readings(
    t_wall_ns: Ints, visible_ns: Ints, value: Floats, edges_ns: Ints, nominal_interval_ns: int
) -> Floats:
    """Select the last reading visible to each step: (n_steps, n_channels).

    NaN before the first reading, and when the last one is older than 3 nominal intervals.
    """
    now = np.searchsorted(visible_ns, edges_ns[1:], side="right") - 1
    known = _is_recent(t_wall_ns, now, edges_ns, nominal_interval_ns)
    on_grid = value.take(now, axis=0)
    on_grid[~known] = np.nan
    return on_grid


def amount_rate(
    t_wall_ns: Ints, amount: Floats, edges_ns: Ints, *, nominal_interval_ns: int
) -> Floats:
    """Sum the rows that end in each step, per second.

    Parameters
    ----------
    t_wall_ns : (n_rows,) Unix time at which each row's interval ends, ns, monotonic.
    amount : (n_rows, n_channels) total over the row's interval; NaN makes its step unknown.
    edges_ns : (n_steps + 1,) edges of the steps, Unix ns.
    nominal_interval_ns : time between two rows of this source, in which age is counted.

    Returns
    -------
    (n_steps, n_channels) units per second; 0 for a step in which no row ends, NaN if the last known
    row is older than 3 nominal intervals.
    """
    last = np.searchsorted(t_wall_ns, edges_ns, side="right") - 1
    missing = np.isnan(amount)
    some_missing = bool(missing.any())
    total = _cumulative(np.where(missing, 0.0, amount) if some_missing else amount).take(
        last + 1, axis=0
    )
    rate = np.diff(total, axis=0) / (STEP_NS / NS_PER_S)
    if not some_missing:
        rate[~_is_recent(t_wall_ns, last[1:], edges_ns, nominal_interval_ns)] = np.nan
        return rate
    n_missing = _cumulative(missing.astype(np.float64))[last + 1]
    rate[np.diff(n_missing, axis=0) > 0] = np.nan
    for channel in range(amount.shape[1]):
        t = t_wall_ns[~missing[:, channel]]
        now = np.searchsorted(t, edges_ns[1:], side="right") - 1
        recent = _is_recent(t, now, edges_ns, nominal_interval_ns) if t.size else False
        rate[~np.broadcast_to(recent, now.shape), channel] = np.nan
    return rate


def episode_grid(
    rows: Mapping[Source, Columns | pl.DataFrame], t0_ns: int, n_steps: int
) -> npt.NDArray[np.float32]:
    """Compute log1p of all 46 channels on the 10 Hz grid.

    Parameters
    ----------
    rows : columns or a frame per source with ``t_wall_ns`` and the channels' fields; missing
        sources, fields and readings are unknown.
    t0_ns : start of the first step and of a second of the episode, Unix ns.
    n_steps : number of steps; step k covers (t0 + k × .1 s, t0 + (k + 1) × .1 s].

    Returns
    -------
    (n_steps, 46) time-major; log1p of units per second (counters, amounts) or of the unit
    (gauges); NaN is unknown. Negative values are unknown in every channel.

    Raises
    ------
    TelemetryError
        If a source's time goes back.
    """
    edges = step_edges(t0_ns - _LEAD_STEPS * STEP_NS, n_steps + _LEAD_STEPS)
    values = np.full((n_steps, N_CHANNELS), np.nan)
    for source in Source:
        given = rows.get(source)
        if given is None:
            continue
        read = given if isinstance(given, Columns) else _columns_of(source, given)
        if not read.n_rows:
            continue
        try:
            _require_forward(read.times)
        except TelemetryError as error:
            raise TelemetryError(f"{source}: {error}") from error
        for columns, on_grid in _source_grids(source, read, edges, t0_ns):
            values[:, columns] = on_grid[_LEAD_STEPS:]
    values[values < 0] = np.nan
    grid: npt.NDArray[np.float32] = np.log1p(values, out=values).astype(np.float32)
    return grid


def _columns_of(source: Source, frame: pl.DataFrame) -> Columns:
    """Select the source's columns from a frame, with time and counters as integers."""
    given = {column.name: column for column in frame.get_columns()}
    whole = {TIME, *(c.field for _, c in source_channels(source) if c.kind is Kind.COUNTER)}
    names = [TIME, *(c.field for _, c in source_channels(source) if c.field in given)]
    return Columns.of(given[n].cast(pl.Int64) if n in whole else given[n] for n in names)


def _source_grids(
    source: Source, rows: Columns, edges: Ints, t0_ns: int
) -> Iterator[tuple[list[int], Floats]]:
    """Grid the channels of one source, grouped by kind and unknown rows."""
    interval = nominal_ns(source)
    rows = without_negatives(source, rows)
    place = {c.field: i for i, c in source_channels(source)}
    of_kind: dict[Kind, list[str]] = {kind: [] for kind in Kind}
    for _, channel in source_channels(source):
        if channel.field in rows.values:
            of_kind[channel.kind].append(channel.field)
    if names := of_kind[Kind.AMOUNT]:
        amounts = np.stack([rows.floats(name) for name in names], axis=1)
        on_grid = amount_rate(rows.times, amounts, edges, nominal_interval_ns=interval)
        yield [place[name] for name in names], on_grid
    gauges, counters = of_kind[Kind.GAUGE], of_kind[Kind.COUNTER]
    for group in counted_readings(source, rows, gauges, anchor_ns=t0_ns, min_gap_ns=None):
        values = group.values.astype(np.float64, copy=False)
        on_grid = last_readings(group.t_wall_ns, group.visible_ns, values, edges, interval)
        yield [place[name] for name in group.names], on_grid
    groups = counted_readings(
        source, rows, counters, anchor_ns=t0_ns, min_gap_ns=MERGE_INTERVALS * interval
    )
    for group, growth in zip(
        groups, growth_of(groups, rows.n_rows, unsteady_names(source)), strict=True
    ):
        yield [place[name] for name in group.names], counter_rates(group, growth, edges, interval)


def _is_recent(
    t: Ints, now: npt.NDArray[np.intp], edges_ns: Ints, nominal_interval_ns: int
) -> npt.NDArray[np.bool_]:
    """Whether each step's last reading exists and is at most 3 nominal intervals old."""
    recent = edges_ns[1:] - t[now] <= STALE_INTERVALS * nominal_interval_ns
    return (now >= 0) & recent


def _cumulative(values: Floats) -> Floats:
    """Cumulative sums of the first 0, 1, … n rows: (n_rows + 1, n_channels)."""
    return np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])


def _require_forward(t_wall_ns: Ints) -> None:
    """Raise if time goes back, naming the first such row."""
    # Compared rather than subtracted, which is slower and could overflow.
    is_back = t_wall_ns[1:] < t_wall_ns[:-1]
    if is_back.any():
        backwards = np.flatnonzero(is_back)
        row = int(backwards[0]) + 1
        raise TelemetryError(
            f"t_wall_ns must not go back, but row {row} is at {t_wall_ns[row]} ns "
            f"after {t_wall_ns[row - 1]} ns ({backwards.size} such rows of {t_wall_ns.size})"
        )

"""Growth of counters from their readings: restarts from zero, and unexplained falls.

A counter restarts from zero together with its source: all changing counters of the source fall in
the same reading, to values plausible for the elapsed time. After any other fall (a single counter,
a removed disk or network card, a wrap, a reverted snapshot) growth is unknown, as is a later rise
that only compensates the fall.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import CHANNELS, NS_PER_S, Source
from cis490_pipeline.domain.arrays import Bools, Ints
from cis490_pipeline.store.rows.columns import Columns, Counted, Numbers, Past
from cis490_pipeline.store.rows.readings import (
    MERGE_INTERVALS,
    Readings,
    counted_readings,
    counter_names,
    nominal_ns,
    seen_before,
    unsteady_names,
    without_negatives,
)

RESTART_GROWTH: Final = 10.0
"""Plausible growth rate after a restart, as a multiple of the counter's maximum so far."""
RESTART_COUNT: Final = 10
"""Count that any counter may reach after a restart."""
RESTART_SHARE: Final = 20
"""In a restart of the source, a counter beyond that still restarted if at most a 20th remains."""

_CHANNELS: Final = {s: frozenset(c.field for c in CHANNELS if c.source is s) for s in Source}


@dataclass(frozen=True, kw_only=True)
class Fall:
    """One fall of a counter."""

    name: str
    t_wall_ns: int
    before: int
    after: int
    restarted: bool
    """Whether its source restarted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Growth:
    """Monotonic totals derived from readings that may fall.

    Attributes
    ----------
    total : (n, n_channels) restart-corrected readings; their differences are the growth.
    unknown : (n, n_channels) mask of unknown growth since the previous reading; ``None`` if empty.
    restarted : (n, n_channels) mask of restarts since the previous reading, likewise.
    dipped : (n, n_channels) mask of single low readings: the next one is compared with the one
        before.
    """

    total: Ints
    unknown: Bools | None = None
    restarted: Bools | None = None
    dipped: Bools | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Steps:
    """Differences between consecutive readings of a group: (n - 1, n_channels) each."""

    change: Ints
    fell: Bools
    """Falls of steady counters."""
    fits: Bools
    """Whether the later reading is plausible after a restart."""
    peak: npt.NDArray[np.float64]
    """(n, n_channels) maximal growth rate up to each reading, per second."""
    highest: Ints
    """(n, n_channels) maximal reading up to each."""


def growth_of(groups: Sequence[Readings], n_rows: int, unsteady: Collection[str]) -> list[Growth]:
    """Separate growth, restarts and unexplained falls of all counters of one source.

    Falls of ``unsteady`` counters are always unknown. ``n_rows`` is the source's number of rows.
    """
    if not any(map(_needs_care, groups)):
        return [Growth(total=group.values.astype(np.int64, copy=False)) for group in groups]
    steps = [_steps_of(group, unsteady) for group in groups]
    restart = _restarts(groups, steps, n_rows)
    return [
        _growth(group, step, restart, unsteady) for group, step in zip(groups, steps, strict=True)
    ]


def falls(source: Source, columns: Columns, *, anchor_ns: int | None) -> Iterator[Fall]:
    """Yield each fall of the source's steady counters, by counter and time.

    ``anchor_ns`` is the start of a second of the episode, Unix ns; ``None`` disables thinning.
    """
    columns = without_negatives(source, columns)
    groups = _counters(source, columns, anchor_ns)
    unsteady = unsteady_names(source)
    for group, growth in zip(groups, growth_of(groups, columns.n_rows, unsteady), strict=True):
        if growth.restarted is None:
            continue
        values = group.values
        for place, name in enumerate(group.names):
            fell = np.flatnonzero(values[1:, place] < values[:-1, place]) + 1
            for i in fell if name not in unsteady else ():
                yield Fall(
                    name=name,
                    t_wall_ns=int(group.t_wall_ns[i]),
                    before=int(values[i - 1, place]),
                    after=int(values[i, place]),
                    restarted=bool(growth.restarted[i, place]),
                )


def forgotten(
    source: Source, columns: Columns, n_rows: int, *, anchor_ns: int | None
) -> dict[str, Past]:
    """Summarize the first ``n_rows`` rows, which are about to be discarded, by channel.

    The second of the episode that contains the last of them must be over.
    """
    columns = without_negatives(source, columns)
    groups = _counters(source, columns, anchor_ns)
    unsteady = unsteady_names(source)
    steps = [_steps_of(group, unsteady) for group in groups]
    restart = _restarts(groups, steps, columns.n_rows)
    left = {
        name: replace(past, seen_ns=seen_before(columns, name, n_rows))
        for name in columns.values
        if name in _CHANNELS[source]
        for past in (columns.past.get(name, Past()),)
    }
    for group, step in zip(groups, steps, strict=True):
        last = int(np.searchsorted(group.rows, n_rows)) - 1
        if last < 0:
            continue
        growth = _growth(group, step, restart, unsteady)
        lost = _highest(group, growth.total) - growth.total
        for place, name in enumerate(group.names):
            # Whether a fall was a dip depends on the next reading, so both readings are kept.
            since = last - int(_fell(growth, group.values, last, place))
            left[name] = Past(
                seen_ns=left[name].seen_ns,
                counted=tuple(
                    Counted(
                        int(group.t_wall_ns[i]),
                        int(group.visible_ns[i]),
                        int(group.values[i, place]),
                    )
                    for i in range(since, last + 1)
                ),
                peak=float(step.peak[since, place]),
                highest=int(step.highest[since, place]),
                lost=int(lost[since, place]),
            )
    return left


def _fell(growth: Growth, values: Numbers, i: int, place: int) -> bool:
    """Whether a counter's reading is an unexplained fall."""
    if i == 0 or growth.restarted is None:
        return False
    return bool(values[i, place] < values[i - 1, place] and not growth.restarted[i, place])


def _counters(source: Source, columns: Columns, anchor_ns: int | None) -> list[Readings]:
    return counted_readings(
        source,
        columns,
        counter_names(source, columns),
        anchor_ns=anchor_ns,
        min_gap_ns=MERGE_INTERVALS * nominal_ns(source),
    )


def _needs_care(group: Readings) -> bool:
    """Whether a counter falls, or lies below its maximum in discarded rows."""
    values = group.values
    if (values[1:] < values[:-1]).any():
        return True
    return any(past.lost for past in group.past.values())


def _steps_of(group: Readings, unsteady: Collection[str]) -> _Steps:
    values = group.values.astype(np.int64, copy=False)
    change = np.diff(values, axis=0)
    elapsed_s = np.diff(group.t_wall_ns)[:, None] / NS_PER_S
    steady = np.array([name not in unsteady for name in group.names])
    # Only growth from the maximum so far counts; other rises may compensate a fall.
    past = [group.past.get(name, Past()) for name in group.names]
    highest = np.maximum(np.maximum.accumulate(values, axis=0), [p.highest for p in past])
    grew = (values[:-1] == highest[:-1]) & (change > 0)
    start = np.array([[p.peak for p in past]])
    rates = np.where(grew, change, 0) / np.where(elapsed_s > 0, elapsed_s, np.inf)
    peak = np.maximum.accumulate(np.concatenate([start, rates]), axis=0)
    reachable = np.maximum(RESTART_GROWTH * peak[:-1] * elapsed_s, RESTART_COUNT)
    return _Steps(
        change=change,
        fell=(change < 0) & steady,
        fits=values[1:] <= reachable,
        peak=peak,
        highest=highest,
    )


def _restarts(groups: Sequence[Readings], steps: Sequence[_Steps], n_rows: int) -> Bools:
    """Mask of the rows in which the source restarted: (n_rows + 1,), last for discarded rows."""
    n_fell, n_fitting = np.zeros((2, n_rows + 1), dtype=np.intp)
    goes_on = np.zeros(n_rows + 1, dtype=np.bool_)
    for group, step in zip(groups, steps, strict=True):
        rows = group.rows[1:]
        n_fell[rows] += step.fell.sum(axis=1)
        n_fitting[rows] += (step.fell & step.fits).sum(axis=1)
        # A counter that did not fall, and is beyond what a restart explains, did not restart.
        goes_on[rows] |= ((step.change >= 0) & ~step.fits).any(axis=1)
    # A fall retained from discarded rows is not a restart.
    goes_on[-1] = True
    # Half suffice: during startup, activity can exceed the maximum rate so far.
    return (n_fell > 0) & ~goes_on & (2 * n_fitting >= n_fell)


def _growth(group: Readings, steps: _Steps, restart: Bools, unsteady: Collection[str]) -> Growth:
    values = group.values.astype(np.int64, copy=False)
    before, after = values[:-1], values[1:]
    small = steps.fits | (after <= before // RESTART_SHARE)
    restarted = np.zeros(values.shape, dtype=np.bool_)
    restarted[1:] = restart[group.rows[1:], None] & steps.fell & small
    grown = np.where(restarted[1:], after, steps.change)
    total = np.cumsum(np.concatenate([values[:1], grown]), axis=0)
    lost = _highest(group, total)[:-1] - total[:-1]
    # A rise of about the lost amount compensates the fall and cannot be separated from growth.
    returns = (lost > 0) & (steps.change > lost - steps.change) & (steps.change - lost < lost)
    fell = np.zeros(values.shape, dtype=np.bool_)
    fell[1:] = (steps.change < 0) & ~restarted[1:]
    dipped = np.zeros(values.shape, dtype=np.bool_)
    dipped[1:-1] = fell[1:-1] & (values[2:] >= values[:-2])
    dipped[:, [name in unsteady for name in group.names]] = False
    unknown = fell.copy()
    unknown[1:] |= returns & ~dipped[:-1]
    return Growth(total=total, unknown=unknown, restarted=restarted, dipped=dipped)


def _highest(group: Readings, total: Ints) -> Ints:
    """Compute the running maximum of the restart-corrected totals, including discarded rows."""
    lost = [group.past.get(name, Past()).lost for name in group.names]
    highest = total.copy()
    highest[:1] += np.array(lost, dtype=np.int64)
    return np.maximum.accumulate(highest, axis=0)

"""Quality gates on telemetry: row rates, gaps, clock skew, counters, justified labels."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import CHANNELS, NS_PER_S, Kind, Phase, Source
from cis490_pipeline.domain.terms import FAILED_LABEL
from cis490_pipeline.store.metadata import EpisodeMeta, Event, Label
from cis490_pipeline.store.reasons import Finding, Reason
from cis490_pipeline.store.rows.columns import TIME, Columns
from cis490_pipeline.store.rows.counters import Fall, falls
from cis490_pipeline.store.rows.read import SourceRows
from cis490_pipeline.store.rows.readings import THINNED, distinct_times, nominal_ns

WINDOW_S: Final = 10.0
MIN_SHARE: Final = 0.8
MAX_GAP_S: Final = 3.0
MAX_SKEW_S: Final = 2.0
EVENT_TOLERANCE_NS: Final = 2 * NS_PER_S
FLAT_SHARE: Final = 0.01
"""Phases whose mean rates differ by less than this share of the largest count as equal."""

JUSTIFYING_EVENTS: Final[Mapping[str, frozenset[str]]] = {
    Phase.INFECTING: frozenset({"exploit_fire", "workload_infecting"}),
    Phase.INFECTED_RUNNING: frozenset({"session_open", "workload_started"}),
    Phase.ARMED: frozenset({"workload_armed"}),
    Phase.DORMANT: frozenset({"workload_killed", "session_idle"}),
}

_FALLS_NAMED: Final = 3
_NEAR_NS: Final = 86_400 * NS_PER_S
_UNITS: Final = {"seconds": NS_PER_S, "milliseconds": 1_000_000, "microseconds": 1000}

_CHANNELS: Final = {s: [c for c in CHANNELS if c.source is s] for s in Source}

_Times = npt.NDArray[np.int64]


def duration_findings(t0_ns: int, end_ns: int, proc: Columns | None) -> Iterator[Finding]:
    """Yield ``too_short`` if no window fits between the first label and the last proc row.

    ``proc`` is ``None`` if the member is missing or unreadable.
    """
    last_ns = end_ns
    if proc is not None:
        t_wall_ns, shift_ns, _ = _own_time(proc, t0_ns, end_ns)
        # The last row covers the whole grid step that contains it.
        covered = t_wall_ns[-1:] - shift_ns + nominal_ns(Source.PROC)
        last_ns = min(end_ns, max([t0_ns, *covered.tolist()]))
    # Counted in whole grid steps, like the windows.
    if (last_ns - t0_ns) * 10 // NS_PER_S < WINDOW_S * 10:
        lasts, covers = (end_ns - t0_ns) / NS_PER_S, (last_ns - t0_ns) / NS_PER_S
        text = f"lasts {lasts:.3f} s, proc covers {covers:.3f} s, one window is {WINDOW_S:.0f} s"
        yield Finding(Reason.TOO_SHORT, text)


def source_findings(source: Source, rows: Columns, t0_ns: int, end_ns: int) -> Iterator[Finding]:
    """Check one source's rows against the episode's time span.

    Yields ``source_missing``, ``clock_skew``, ``too_few_rows`` (proc) or ``source_short``, and
    ``source_gap``. Rows are in order of time and no reading is negative.

    Notes
    -----
    A source with the same offset at both ends is skewed and is then checked in its own time. One
    that begins and ends early has stopped, which is no clock fault. Coverage counts distinct times
    with a known reading, thinned to one per second for a fast guest, as on the grid.
    """
    if not _with_reading(rows).any():
        if source is Source.PROC:
            yield _shortage(source, 0, t0_ns, end_ns)
        else:
            yield Finding(Reason.SOURCE_MISSING, f"{source.member} has no reading")
        return
    t_wall_ns, shift_ns, unit = _own_time(rows, t0_ns, end_ns)
    if unit != "nanoseconds":
        text = f"{source}: t_wall_ns looks like {unit}: its first row says {rows.times[0]}"
        yield Finding(Reason.CLOCK_SKEW, text)
    elif shift_ns:
        first_s, last_s = _offsets_s(t_wall_ns, t0_ns, end_ns)
        text = f"{source}: the first row is {first_s:+.1f} s off, the last {last_s:+.1f} s"
        yield Finding(Reason.CLOCK_SKEW, text)
    if unit == "nanoseconds":
        times = distinct_times(source, rows, anchor_ns=t0_ns)
    else:
        # In coarser units several rows share one time.
        times = t_wall_ns[_with_reading(rows)]
    yield from _coverage_findings(source, times, t0_ns + shift_ns, end_ns + shift_ns)


def thinned_note(source: Source, rows: Columns, t0_ns: int, end_ns: int) -> str | None:
    """Describe how many readings of a fast guest are thinned out; ``None`` if none are."""
    if source not in THINNED or _own_time(rows, t0_ns, end_ns)[2] != "nanoseconds":
        return None
    n_before = distinct_times(source, rows, anchor_ns=None).size
    n_after = distinct_times(source, rows, anchor_ns=t0_ns).size
    if n_before == n_after:
        return None
    return f"{source}: {n_before} readings are thinned to {n_after}, the last in each second"


def counter_findings(source: Source, rows: Columns, t0_ns: int | None) -> Iterator[Finding]:
    """Yield ``counter_reset`` where the source restarted, ``counter_fell`` where a counter fell."""
    resets: Counter[int] = Counter()
    fell: dict[str, list[Fall]] = {}
    n_fell: Counter[str] = Counter()
    for fall in falls(source, rows, anchor_ns=t0_ns):
        if fall.restarted:
            resets[fall.t_wall_ns] += 1
        else:
            n_fell[fall.name] += 1
            if n_fell[fall.name] <= _FALLS_NAMED:
                fell.setdefault(fall.name, []).append(fall)
    if resets:
        first = min(resets)
        text = f"{source}: {resets[first]} counters restarted {_when(first, t0_ns)}"
        more = f", {len(resets)} restarts in all" if len(resets) > 1 else ""
        yield Finding(Reason.COUNTER_RESET, text + more)
    if fell:
        named = "; ".join(_falls_text(name, fell[name], n_fell[name], t0_ns) for name in fell)
        yield Finding(Reason.COUNTER_FELL, f"{source}: {named}")


def label_findings(labels: Sequence[Label], events: Sequence[Event]) -> Iterator[Finding]:
    """Yield ``label_unjustified`` if a label has no event of its kind within 2 s."""
    times = {
        phase: sorted(event.t_wall_ns for event in events if event.event in justifying)
        for phase, justifying in JUSTIFYING_EVENTS.items()
    }
    unjustified = [
        label
        for label in labels
        if label.phase in times and not _has_near(times[label.phase], label.t_wall_ns)
    ]
    if unjustified:
        phases = ", ".join(label.phase for label in unjustified)
        text = f"{len(unjustified)} of {len(labels)} labels have no event within 2 s: {phases}"
        yield Finding(Reason.LABEL_UNJUSTIFIED, text)


def flat_findings(
    rows: Mapping[Source, Columns], labels: Sequence[Label], end_ns: int
) -> Iterator[Finding]:
    """Yield ``source_flat`` if no source differs between phases.

    A source is flat if no channel's mean (counters and amounts per second) differs between phases
    by over 1 % of its largest. Even an idle machine's jitter exceeds that, so a flat source means a
    recorder that repeats itself or a stopped machine.
    """
    available = [source for source, columns in rows.items() if _with_reading(columns).any()]
    phases = {label.phase for label in labels} - {FAILED_LABEL}
    if len(phases) < 2 or not available:
        return
    with np.errstate(over="ignore", invalid="ignore"):
        flat = all(_is_flat(source, rows[source], labels, end_ns) for source in available)
    if flat:
        names = ", ".join(available)
        yield Finding(Reason.SOURCE_FLAT, f"nothing differs between phases in {names}")


def count_findings(
    meta: EpisodeMeta, rows: Mapping[Source, SourceRows], perf_lines: int | None
) -> Iterator[Finding]:
    """Yield ``row_count_mismatch`` if the counts in ``meta.result`` differ from the rows."""
    if meta.result is None:
        return
    pairs = [
        (source.member, getattr(meta.result, f"rows_{source}"), read.n_lines)
        for source, read in rows.items()
    ]
    if perf_lines is not None and meta.result.rows_perf is not None:
        pairs.append(("telemetry-perf.jsonl", meta.result.rows_perf, perf_lines))
    wrong = [f"{name}: result says {stated}, has {n}" for name, stated, n in pairs if stated != n]
    if wrong:
        yield Finding(Reason.ROW_COUNT_MISMATCH, "; ".join(wrong))


def _falls_text(name: str, some: Sequence[Fall], n_all: int, t0_ns: int | None) -> str:
    each = ", ".join(
        f"by {fall.before - fall.after} {_when(fall.t_wall_ns, t0_ns)} "
        f"({fall.before} to {fall.after})"
        for fall in some
    )
    more = f" and {n_all - len(some)} times more" if n_all > len(some) else ""
    return f"{name} fell {each}{more}"


def _when(t_ns: int, t0_ns: int | None) -> str:
    return f"at {t_ns} ns" if t0_ns is None else f"at {(t_ns - t0_ns) / NS_PER_S:.1f} s"


def _has_near(times: Sequence[int], t_ns: int) -> bool:
    """Whether one of the sorted times is within the tolerance."""
    following = bisect_left(times, t_ns - EVENT_TOLERANCE_NS)
    return following < len(times) and times[following] <= t_ns + EVENT_TOLERANCE_NS


def _own_time(rows: Columns, t0_ns: int, end_ns: int) -> tuple[_Times, int, str]:
    """Return times in ns, the clock's offset (0 within tolerance), and the original unit."""
    t_wall_ns, unit = rows.times, "nanoseconds"
    if not t_wall_ns.size:
        return t_wall_ns, 0, unit
    for name, ns in _UNITS.items():
        ends = (int(t_wall_ns[0]) * ns - t0_ns, int(t_wall_ns[-1]) * ns - end_ns)
        if max(map(abs, ends)) < _NEAR_NS:
            t_wall_ns, unit = t_wall_ns * ns, name
    first_s, last_s = _offsets_s(t_wall_ns, t0_ns, end_ns)
    if not _is_skewed(first_s, last_s, (end_ns - t0_ns) / NS_PER_S):
        return t_wall_ns, 0, unit
    return t_wall_ns, round((first_s + last_s) / 2 * NS_PER_S), unit


def _offsets_s(t_wall_ns: _Times, t0_ns: int, end_ns: int) -> tuple[float, float]:
    first, last = int(t_wall_ns[0]), int(t_wall_ns[-1])
    return (first - t0_ns) / NS_PER_S, (last - end_ns) / NS_PER_S


def _is_skewed(first_s: float, last_s: float, duration_s: float) -> bool:
    if min(first_s, last_s) > MAX_SKEW_S:
        return True
    if max(first_s, last_s) >= -MAX_SKEW_S:
        return False
    # A source whose last row precedes the episode recorded another time span.
    return abs(first_s - last_s) <= MAX_SKEW_S or last_s < -duration_s - MAX_SKEW_S


def _with_reading(rows: Columns) -> npt.NDArray[np.bool_]:
    """Mask of the rows with a known reading."""
    if len(rows.known) < len(rows.values) - 1:
        return np.ones(rows.n_rows, dtype=np.bool_)
    there = np.zeros(rows.n_rows, dtype=np.bool_)
    for name in rows.values:
        if name != TIME:
            there |= rows.known.get(name, np.True_)
    return there


def _coverage_findings(
    source: Source, t_wall_ns: _Times, t0_ns: int, end_ns: int
) -> Iterator[Finding]:
    interval_ns = round(NS_PER_S / source.rate_hz)
    inside = (t_wall_ns > t0_ns - interval_ns) & (t_wall_ns <= end_ns + interval_ns)
    n_inside = int(inside.sum())
    short = n_inside < MIN_SHARE * source.rate_hz * (end_ns - t0_ns) / NS_PER_S
    if short:
        yield _shortage(source, n_inside, t0_ns, end_ns)
    # A short source is already reported, so only gaps between its rows are new information.
    within = t_wall_ns[inside]
    times = within if short else np.concatenate(([t0_ns], within, [end_ns]))
    if times.size < 2:
        return
    gaps_s = np.diff(times) / NS_PER_S
    widest = int(gaps_s.argmax())
    if gaps_s[widest] > MAX_GAP_S:
        since_s = (int(times[widest]) - t0_ns) / NS_PER_S
        n_gaps = int((gaps_s > MAX_GAP_S).sum())
        text = f"{source}: {n_gaps} gaps, longest {gaps_s[widest]:.1f} s from {since_s:.1f} s on"
        yield Finding(Reason.SOURCE_GAP, text)


def _shortage(source: Source, n_rows: int, t0_ns: int, end_ns: int) -> Finding:
    reason = Reason.TOO_FEW_ROWS if source is Source.PROC else Reason.SOURCE_SHORT
    expected = source.rate_hz * (end_ns - t0_ns) / NS_PER_S
    text = f"{source}: {n_rows} rows of {expected:.0f}, {MIN_SHARE:.0%} are needed"
    return Finding(reason, text)


def _is_flat(source: Source, rows: Columns, labels: Sequence[Label], end_ns: int) -> bool:
    t_wall_ns = rows.times
    starts = np.array([label.t_wall_ns for label in labels] + [end_ns])
    edges = np.searchsorted(t_wall_ns, starts, side="right")
    names = [label.phase for label in labels]
    for channel in _CHANNELS[source]:
        if channel.field not in rows.values:
            continue
        values = rows.floats(channel.field)
        means = _phase_means(channel.kind, t_wall_ns, values, edges, names)
        if means.size > 1 and np.ptp(means) > FLAT_SHARE * np.abs(means).max():
            return False
    return True


def _phase_means(
    kind: Kind,
    t_wall_ns: _Times,
    values: npt.NDArray[np.float64],
    edges: npt.NDArray[np.intp],
    names: Sequence[str],
) -> npt.NDArray[np.float64]:
    """Mean of a channel in each phase; phases with fewer than two known readings are omitted."""
    totals: dict[str, tuple[float, float]] = {}
    for name, start, stop in zip(names, edges[:-1], edges[1:], strict=True):
        known = np.flatnonzero(np.isfinite(values[start:stop])) + start
        if known.size < 2:
            continue
        if kind is Kind.COUNTER:
            amount = float(values[known[-1]] - values[known[0]])
            weight = (int(t_wall_ns[known[-1]]) - int(t_wall_ns[known[0]])) / NS_PER_S
        else:
            amount, weight = float(values[known].sum()), float(known.size)
        before = totals.get(name, (0.0, 0.0))
        totals[name] = (before[0] + amount, before[1] + weight)
    return np.array([amount / weight for amount, weight in totals.values() if weight > 0])

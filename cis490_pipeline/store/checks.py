"""Gates on what was recorded: enough rows, no gaps, clocks that agree, labels with a cause."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import CHANNELS, NS_PER_S, Channel, Kind, Phase, Source
from cis490_pipeline.domain.terms import FAILED_LABEL
from cis490_pipeline.store.columns import TIME, Columns, Numbers
from cis490_pipeline.store.manifest import EpisodeMeta, Event, Label
from cis490_pipeline.store.reasons import Finding, Reason
from cis490_pipeline.store.rows import SourceRows

WINDOW_S: Final = 10.0
MIN_SHARE: Final = 0.8
MAX_GAP_S: Final = 3.0
MAX_SKEW_S: Final = 2.0
EVENT_TOLERANCE_NS: Final = 2 * NS_PER_S
FLAT_SHARE: Final = 0.01
"""Phases whose mean rates differ by less than this share of the largest are alike."""

JUSTIFYING_EVENTS: Final[Mapping[str, frozenset[str]]] = {
    Phase.INFECTING: frozenset({"exploit_fire", "workload_infecting"}),
    Phase.INFECTED_RUNNING: frozenset({"session_open", "workload_started"}),
    Phase.ARMED: frozenset({"workload_armed"}),
    Phase.DORMANT: frozenset({"workload_killed", "session_idle"}),
}

_CHANNELS: Final = {s: [c for c in CHANNELS if c.source is s] for s in Source}

_Times = npt.NDArray[np.int64]


def duration_findings(t0_ns: int, end_ns: int) -> Iterator[Finding]:
    """Yield ``too_short`` if not one window fits."""
    duration_s = (end_ns - t0_ns) / NS_PER_S
    # In whole grid steps, as the windows are cut.
    if (end_ns - t0_ns) * 10 // NS_PER_S < WINDOW_S * 10:
        text = f"lasts {duration_s:.3f} s, one window is {WINDOW_S:.0f} s"
        yield Finding(Reason.TOO_SHORT, text)


def source_findings(source: Source, rows: Columns, t0_ns: int, end_ns: int) -> Iterator[Finding]:
    """Check one source's rows against the episode's time.

    Parameters
    ----------
    source : whose rows.
    rows : ``t_wall_ns`` (ns, never going back) and channels.
    t0_ns, end_ns : the first label and the end of the last phase, Unix ns.

    Yields
    ------
    Finding
        ``source_missing``, ``clock_skew``, ``too_few_rows`` (proc) or ``source_short``,
        ``source_gap``.

    Notes
    -----
    A source that is off by as much at both ends is skewed, and is then judged in its own time. One
    that begins early and ends early has stopped: no clock is to blame.
    """
    t_wall_ns = rows.times
    if source is not Source.PROC and not _has_readings(rows):
        yield Finding(Reason.SOURCE_MISSING, f"{source.member} has no reading")
        return
    if not t_wall_ns.size:
        yield _shortage(source, 0, t0_ns, end_ns)
        return
    first_s = (int(t_wall_ns[0]) - t0_ns) / NS_PER_S
    last_s = (int(t_wall_ns[-1]) - end_ns) / NS_PER_S
    if _is_skewed(first_s, last_s):
        text = f"{source}: the first row is {first_s:+.1f} s off, the last {last_s:+.1f} s"
        yield Finding(Reason.CLOCK_SKEW, text)
        skew_ns = round((first_s + last_s) / 2 * NS_PER_S)
        t0_ns, end_ns = t0_ns + skew_ns, end_ns + skew_ns
    yield from _coverage_findings(source, t_wall_ns, t0_ns, end_ns)


def counter_reset_findings(source: Source, rows: Columns) -> Iterator[Finding]:
    """Yield ``counter_reset`` if a counter fell; ``cpu_iowait`` may."""
    fallen = {
        channel.field: n
        for channel in _recorded(source, rows)
        if channel.kind is Kind.COUNTER and not channel.may_fall
        if (n := _falls(rows.readings(channel.field)))
    }
    if fallen:
        told = ", ".join(f"{name} {n} times" for name, n in fallen.items())
        yield Finding(Reason.COUNTER_RESET, f"{source}: fell: {told}")


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
        told = ", ".join(label.phase for label in unjustified)
        text = f"{len(unjustified)} of {len(labels)} labels have no event within 2 s: {told}"
        yield Finding(Reason.LABEL_UNJUSTIFIED, text)


def flat_findings(
    rows: Mapping[Source, Columns], labels: Sequence[Label], end_ns: int
) -> Iterator[Finding]:
    """Yield ``source_flat`` if no source tells one phase from another.

    Notes
    -----
    A source is flat if no channel's mean (counters and amounts per second) differs between phases
    by over 1 % of its largest. Even an idle machine's jitter is more, so what is found is a
    recorder that repeats itself, or a machine that stood still.
    """
    available = [source for source, columns in rows.items() if _has_readings(columns)]
    phases = {label.phase for label in labels} - {FAILED_LABEL}
    if len(phases) < 2 or not available:
        return
    with np.errstate(over="ignore", invalid="ignore"):
        flat = all(_is_flat(source, rows[source], labels, end_ns) for source in available)
    if flat:
        told = ", ".join(available)
        yield Finding(Reason.SOURCE_FLAT, f"nothing differs between phases in {told}")


def count_findings(
    meta: EpisodeMeta, rows: Mapping[Source, SourceRows], perf_lines: int | None
) -> Iterator[Finding]:
    """Yield ``row_count_mismatch`` if ``meta.result`` counted other than what is there."""
    if meta.result is None:
        return
    pairs = [
        (source.member, getattr(meta.result, f"rows_{source}"), read.n_lines)
        for source, read in rows.items()
    ]
    if perf_lines is not None and meta.result.rows_perf is not None:
        pairs.append(("telemetry-perf.jsonl", meta.result.rows_perf, perf_lines))
    wrong = [f"{name}: result says {told}, has {n}" for name, told, n in pairs if told != n]
    if wrong:
        yield Finding(Reason.ROW_COUNT_MISMATCH, "; ".join(wrong))


def _falls(readings: Numbers) -> int:
    return int(np.count_nonzero(readings[1:] < readings[:-1]))


def _has_near(times: Sequence[int], t_ns: int) -> bool:
    """Whether one of the sorted times is within the tolerance."""
    following = bisect_left(times, t_ns - EVENT_TOLERANCE_NS)
    return following < len(times) and times[following] <= t_ns + EVENT_TOLERANCE_NS


def _is_skewed(first_s: float, last_s: float) -> bool:
    late = min(first_s, last_s) > MAX_SKEW_S
    early = max(first_s, last_s) < -MAX_SKEW_S and abs(first_s - last_s) <= MAX_SKEW_S
    return late or early


def _coverage_findings(
    source: Source, t_wall_ns: _Times, t0_ns: int, end_ns: int
) -> Iterator[Finding]:
    interval_ns = round(NS_PER_S / source.rate_hz)
    inside = (t_wall_ns > t0_ns - interval_ns) & (t_wall_ns <= end_ns + interval_ns)
    n_inside = int(inside.sum())
    short = n_inside < MIN_SHARE * source.rate_hz * (end_ns - t0_ns) / NS_PER_S
    if short:
        yield _shortage(source, n_inside, t0_ns, end_ns)
    # A source that is short already says that an end is missing; a hole inside is news.
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
    return Finding(reason, f"{source}: {n_rows} rows of {expected:.0f}, {MIN_SHARE:.0%} are needed")


def _recorded(source: Source, rows: Columns) -> list[Channel]:
    return [channel for channel in _CHANNELS[source] if channel.field in rows.values]


def _has_readings(rows: Columns) -> bool:
    return any(rows.readings(name).size for name in rows.values if name != TIME)


def _is_flat(source: Source, rows: Columns, labels: Sequence[Label], end_ns: int) -> bool:
    t_wall_ns = rows.times
    starts = np.array([label.t_wall_ns for label in labels] + [end_ns])
    edges = np.searchsorted(t_wall_ns, starts, side="right")
    names = [label.phase for label in labels]
    for channel in _recorded(source, rows):
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
    """Mean of a channel in each phase; phases with under two known readings are left out."""
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

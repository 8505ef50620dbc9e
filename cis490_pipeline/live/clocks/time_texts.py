"""Messages on times that do not fit: which row, how far off, and the likely unit."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.live.clocks.timeline import GRACE_NS
from cis490_pipeline.live.feeds.rows import LiveRow

_REPORTED_EACH: Final = 5
_REPORTED_EVERY: Final = 1000
_YEAR_S: Final = 365.25 * 86400
_UNITS: Final = {"seconds": 10**9, "milliseconds": 10**6, "microseconds": 10**3}
_PLAUSIBLE: Final = range(1_000_000_000 * NS_PER_S, 4_100_000_000 * NS_PER_S)
"""2001 to 2099, Unix ns."""


def is_reported(n: int) -> bool:
    """Whether to report the n-th event of a kind: the first 5, then one in a thousand."""
    return n <= _REPORTED_EACH or n % _REPORTED_EVERY == 0


def row_set_aside(row: LiveRow, now_ns: int | None, n: int) -> str:
    """Describe a row that fits no time."""
    off = ""
    if now_ns is not None:
        way = "ahead of" if row.t_wall_ns > now_ns else "behind"
        off = f", {duration(abs(row.t_wall_ns - now_ns))} {way} the device's time"
    return (
        f"row set aside ({n} so far): {row.source} at {time_text(row.t_wall_ns)}{off}"
        f"{_unit_hint(row.t_wall_ns)}"
    )


def no_time(row: LiveRow) -> str:
    """Describe a source whose rows give no time."""
    return (
        f"no row can be placed in time yet: t_wall_ns of {row.source} does not advance with its "
        f"rows, the last is {row.t_wall_ns} ({time_text(row.t_wall_ns)}); wanted Unix nanoseconds"
        f"{_unit_hint(row.t_wall_ns)}"
    )


def clock_jumped(from_ns: int, to_ns: int) -> str:
    """Describe a jump of the device's clock."""
    way = "forward" if to_ns > from_ns else "back"
    return (
        f"the device's clock jumped {way} by {duration(abs(to_ns - from_ns))}, "
        f"to {time_text(to_ns)}"
    )


def clock_off(
    source: Source, offset_ns: int, others: Sequence[Source], now_ns: int, wall_ns: int | None
) -> str:
    """Describe a source whose clock is off, by how much, and which of the two may be right.

    The offset is 0 once it agrees again with the others, which agree on the device's time
    ``now_ns``. ``wall_ns`` is this machine's time; None for recordings.
    """
    names = " and ".join(map(str, others))
    if offset_ns == 0:
        return f"the clock of {source} agrees with that of {names}"
    way = "ahead of" if offset_ns > 0 else "behind"
    text = f"the clock of {source} is {abs(offset_ns) / NS_PER_S:.1f} s {way} that of {names}"
    if wall_ns is not None and abs(now_ns - wall_ns) <= 2 * GRACE_NS:
        text += ", which this machine's clock agrees with"
    elif wall_ns is not None and abs(now_ns + offset_ns - wall_ns) <= 2 * GRACE_NS:
        text += f" (this machine's clock agrees with {source})"
    if offset_ns < 0:
        text += " (or its rows come that much late)"
    return f"{text}; its times are corrected by that"


def duration(t_ns: int) -> str:
    """Format a duration in seconds, days or years."""
    seconds = t_ns / NS_PER_S
    if seconds >= _YEAR_S:
        return f"{seconds / _YEAR_S:.1f} years"
    return f"{seconds / 86400:.1f} days" if seconds >= 86400 else f"{seconds:.1f} s"


def time_text(t_ns: int) -> str:
    """Format a Unix time as ISO 8601, UTC; in ns if it is out of the calendar's range."""
    try:
        return datetime.fromtimestamp(t_ns // NS_PER_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, OSError, ValueError):
        return f"{t_ns} ns"


def _unit_hint(t_ns: int) -> str:
    for unit, factor in _UNITS.items():
        if t_ns * factor in _PLAUSIBLE:
            return f"; it looks like {unit} ({time_text(t_ns * factor)})"
    return ""

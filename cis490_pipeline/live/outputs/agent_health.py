"""Health of a device's agent: how it does, in a line, and what is wrong with it."""

from dataclasses import dataclass, field
from typing import Final

from cis490_pipeline.domain import NS_PER_S
from cis490_pipeline.live.feeds.agent_status import AgentStatus
from cis490_pipeline.live.outputs.sinks import clock_text

RECENT: Final = 60
"""Statuses, of 10 s each, for which a loss is a reason to worry; it is counted for longer."""
_MAX_NAMED: Final = 3
_NETFLOW_CHOSEN: Final = ("on", "off")
_COUNTS: Final = ("rows_dropped", "packets_dropped", "ticks_missed", "clock_steps")


@dataclass
class AgentHealth:
    """What successive statuses of an agent amount to."""

    _status: AgentStatus | None = None
    _rows_per_s: float | None = None
    _n: int = 0
    _grown_at: dict[str, int] = field(default_factory=dict)

    def take(self, status: AgentStatus) -> None:
        """Take the next status."""
        before = self._status
        # An agent that was started again counts from zero.
        if before is not None and (before.boot_id != status.boot_id or before.seq >= status.seq):
            before = None
        self._n += 1
        self._rows_per_s = None if before is None else _rows_per_s(before, status)
        for name in _COUNTS:
            if _count(status, name) > (0 if before is None else _count(before, name)):
                self._grown_at[name] = self._n
        self._status = status

    def line(self) -> str:
        """Return how the agent does; empty before its first status."""
        status = self._status
        if status is None:
            return ""
        parts = []
        if self._rows_per_s is not None:
            parts.append(f"{self._rows_per_s:.1f} rows/s")
        if status.lateness_p99_ms is not None:
            parts.append(f"late p99 {status.lateness_p99_ms:.3g} ms")
        if status.packets is not None:
            parts.append(f"{status.packets_dropped or 0:,} of {status.packets:,} packets dropped")
        if status.cpu_percent is not None:
            parts.append(f"{status.cpu_percent:.2g} % of a core")
        if status.rss_bytes is not None:
            parts.append(f"{status.rss_bytes / 1e6:.0f} MB")
        return ", ".join(parts)

    def trouble(self, *, is_silent: bool) -> str:
        """Return what is wrong with the agent; empty if nothing is."""
        status = self._status
        if status is None:
            return ""
        parts = []
        if is_silent:
            parts.append(f"silent since {clock_text(status.t_wall_ns)} UTC")
        if self.is_recent("packets_dropped"):
            parts.append(f"{status.packets_dropped:,} packets dropped")
        if self.is_recent("rows_dropped"):
            parts.append(f"{status.rows_dropped:,} rows dropped")
        if self.is_recent("ticks_missed"):
            parts.append(f"{status.ticks_missed:,} seconds missed")
        if self.is_recent("clock_steps"):
            parts.append(f"its clock stepped by {status.clock_step_ns / NS_PER_S:+.3g} s")
        if status.fields_lost:
            more = len(status.fields_lost) - _MAX_NAMED
            rest = f" and {more} more" if more > 0 else ""
            parts.append(f"without {', '.join(status.fields_lost[:_MAX_NAMED])}{rest}")
        if status.netflow not in _NETFLOW_CHOSEN:
            parts.append(f"no netflow: {status.netflow}")
        return "; ".join(parts)

    def is_recent(self, name: str) -> bool:
        """Whether a count of losses grew within the latest statuses."""
        at = self._grown_at.get(name)
        return at is not None and self._n - at < RECENT


def _count(status: AgentStatus, name: str) -> int:
    count: int | None = getattr(status, name)
    return count or 0


def _rows_per_s(before: AgentStatus, after: AgentStatus) -> float | None:
    """Return the rows made between two statuses; None if too little time lies between them."""
    if before.t_mono_ns is None or after.t_mono_ns is None:
        return None
    passed_s = (after.t_mono_ns - before.t_mono_ns) / NS_PER_S
    return (after.rows - before.rows) / passed_s if passed_s >= 1 else None

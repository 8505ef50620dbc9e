"""Registry of the 46 telemetry channels: source, kind, unit and availability.

Source: the episode format, "The 46 channels". The order of this table is the channel order of
every array and part of the feature schema's hash.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Source(StrEnum):
    """Recorder of telemetry rows; the value is the prefix of a channel's name."""

    PROC = "proc"
    QMP = "qmp"
    GUEST = "guest"
    NETFLOW = "netflow"

    @property
    def member(self) -> str:
        """Name of the episode member that holds this source's rows."""
        return "netflow.jsonl" if self is Source.NETFLOW else f"telemetry-{self}.jsonl"

    @property
    def row_tag(self) -> str:
        """Value of the ``source`` field in this source's rows."""
        return _ROW_TAGS[self]

    @property
    def rate_hz(self) -> float:
        """Nominal row rate, Hz; rate gates and staleness are relative to it."""
        return 10.0 if self in (Source.PROC, Source.NETFLOW) else 1.0

    @property
    def deployable(self) -> bool:
        """Whether deployed devices outside the lab have this source."""
        return self in (Source.GUEST, Source.NETFLOW)


_ROW_TAGS: Final = {
    Source.PROC: "host_proc",
    Source.QMP: "host_qmp",
    Source.GUEST: "guest_agent",
    Source.NETFLOW: "bridge_pcap",
}


class Kind(StrEnum):
    """Measurement kind of a channel."""

    COUNTER = "counter"
    """Cumulative count; restarts from zero with its process."""
    GAUGE = "gauge"
    """Instantaneous value at the row's time."""
    AMOUNT = "amount"
    """Total over the row's own interval, which ends at the row's time."""


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One telemetry channel."""

    source: Source
    field: str
    kind: Kind
    unit: str
    """Unit of the raw reading; counters and amounts are converted to a rate per second."""
    aliases: tuple[str, ...] = ()
    """Field names used by other recorders."""
    is_float: bool = False
    """Whether readings are fractional (only ``load_1m``)."""
    may_fall: bool = False
    """Whether a decrease means an unknown value, not a restart (``cpu_iowait``, see proc(5))."""

    @property
    def name(self) -> str:
        """``source.field``."""
        return f"{self.source}.{self.field}"

    @property
    def deployable(self) -> bool:
        """Whether a realistic model may see it."""
        return self.source.deployable


_COUNTER, _GAUGE, _AMOUNT = Kind.COUNTER, Kind.GAUGE, Kind.AMOUNT

# (source, field, kind, unit, aliases)
_TABLE: Final[tuple[tuple[Source, str, Kind, str, tuple[str, ...]], ...]] = (
    (Source.PROC, "cpu_user_jiffies", _COUNTER, "jiffies", ("utime_ticks",)),
    (Source.PROC, "cpu_sys_jiffies", _COUNTER, "jiffies", ("stime_ticks",)),
    (Source.PROC, "minor_faults", _COUNTER, "faults", ("minflt",)),
    (Source.PROC, "major_faults", _COUNTER, "faults", ("majflt",)),
    (Source.PROC, "ctxt_voluntary", _COUNTER, "switches", ("voluntary_ctxt_switches",)),
    (Source.PROC, "ctxt_involuntary", _COUNTER, "switches", ("nonvoluntary_ctxt_switches",)),
    (Source.PROC, "io_read_bytes", _COUNTER, "bytes", ("read_bytes",)),
    (Source.PROC, "io_write_bytes", _COUNTER, "bytes", ("write_bytes",)),
    (Source.PROC, "io_read_calls", _COUNTER, "calls", ("syscr",)),
    (Source.PROC, "io_write_calls", _COUNTER, "calls", ("syscw",)),
    (Source.PROC, "rss_bytes", _GAUGE, "bytes", ()),
    (Source.PROC, "num_threads", _GAUGE, "threads", ("threads",)),
    (Source.QMP, "blk_rd_bytes", _COUNTER, "bytes", ("rd_bytes",)),
    (Source.QMP, "blk_wr_bytes", _COUNTER, "bytes", ("wr_bytes",)),
    (Source.QMP, "blk_rd_ops", _COUNTER, "operations", ("rd_operations",)),
    (Source.QMP, "blk_wr_ops", _COUNTER, "operations", ("wr_operations",)),
    (Source.QMP, "blk_flush_ops", _COUNTER, "operations", ("flush_operations",)),
    (Source.GUEST, "cpu_user", _COUNTER, "jiffies", ("cpu_user_jiffies",)),
    (Source.GUEST, "cpu_sys", _COUNTER, "jiffies", ("cpu_system", "cpu_sys_jiffies")),
    (Source.GUEST, "cpu_iowait", _COUNTER, "jiffies", ("cpu_iowait_jiffies",)),
    (Source.GUEST, "cpu_softirq", _COUNTER, "jiffies", ("cpu_softirq_jiffies",)),
    (Source.GUEST, "ctxt", _COUNTER, "switches", ()),
    (Source.GUEST, "intr", _COUNTER, "interrupts", ()),
    (Source.GUEST, "forks", _COUNTER, "forks", ("processes",)),
    (Source.GUEST, "net_rx_bytes", _COUNTER, "bytes", ()),
    (Source.GUEST, "net_tx_bytes", _COUNTER, "bytes", ()),
    (Source.GUEST, "net_rx_packets", _COUNTER, "packets", ()),
    (Source.GUEST, "net_tx_packets", _COUNTER, "packets", ()),
    (Source.GUEST, "procs_running", _GAUGE, "processes", ()),
    (Source.GUEST, "load_1m", _GAUGE, "processes", ("loadavg_1m",)),
    (Source.GUEST, "mem_available_bytes", _GAUGE, "bytes", ()),
    (Source.GUEST, "mem_cached_bytes", _GAUGE, "bytes", ()),
    (Source.GUEST, "mem_dirty_bytes", _GAUGE, "bytes", ()),
    (Source.GUEST, "tcp_established", _GAUGE, "sockets", ()),
    (Source.GUEST, "tcp_total", _GAUGE, "sockets", ()),
    (Source.GUEST, "top_rss_bytes", _GAUGE, "bytes", ()),
    (Source.NETFLOW, "pkts_out", _AMOUNT, "packets", ()),
    (Source.NETFLOW, "pkts_in", _AMOUNT, "packets", ()),
    (Source.NETFLOW, "bytes_out", _AMOUNT, "bytes", ()),
    (Source.NETFLOW, "bytes_in", _AMOUNT, "bytes", ()),
    (Source.NETFLOW, "tcp_syn_out", _AMOUNT, "packets", ()),
    (Source.NETFLOW, "tcp_rst", _AMOUNT, "packets", ()),
    (Source.NETFLOW, "udp_pkts", _AMOUNT, "packets", ()),
    (Source.NETFLOW, "new_flows", _AMOUNT, "flows", ()),
    (Source.NETFLOW, "dst_ips", _AMOUNT, "addresses", ()),
    (Source.NETFLOW, "dst_ports", _AMOUNT, "ports", ()),
)

CHANNELS: Final[tuple[Channel, ...]] = tuple(
    Channel(
        source=source,
        field=field,
        kind=kind,
        unit=unit,
        aliases=aliases,
        is_float=field == "load_1m",
        may_fall=field == "cpu_iowait",
    )
    for source, field, kind, unit, aliases in _TABLE
)

"""Names and constants of the rows that a device sends, episode format 1.

`domain` holds the same names for the rest of the package but needs Python 3.11; a device may have
3.9 and nothing besides. A test compares the two.
"""

from __future__ import annotations

from typing import Optional, Union

NS_PER_S = 1_000_000_000
FORMAT_VERSION = 1

GUEST_SOURCE = "guest_agent"
NETFLOW_SOURCE = "bridge_pcap"
STATUS_SOURCE = "agent_status"
"""The agent's own state; live streams carry it, a store never holds it."""

GUEST_RATE_HZ = 1
NETFLOW_RATE_HZ = 10
STATUS_PERIOD_S = 10
BUCKET_NS = NS_PER_S // NETFLOW_RATE_HZ
"""Length of a netflow bucket: (start, end], stamped with its end."""

GUEST_COUNTERS: tuple[str, ...] = (
    "cpu_user",
    "cpu_sys",
    "cpu_iowait",
    "cpu_softirq",
    "ctxt",
    "intr",
    "forks",
    "net_rx_bytes",
    "net_tx_bytes",
    "net_rx_packets",
    "net_tx_packets",
)
GUEST_GAUGES: tuple[str, ...] = (
    "procs_running",
    "load_1m",
    "mem_available_bytes",
    "mem_cached_bytes",
    "mem_dirty_bytes",
    "tcp_established",
    "tcp_total",
    "top_rss_bytes",
)
GUEST_FIELDS: tuple[str, ...] = GUEST_COUNTERS + GUEST_GAUGES
NETFLOW_FIELDS: tuple[str, ...] = (
    "pkts_out",
    "pkts_in",
    "bytes_out",
    "bytes_in",
    "tcp_syn_out",
    "tcp_rst",
    "udp_pkts",
    "new_flows",
    "dst_ips",
    "dst_ports",
)
FRACTIONAL_FIELDS: tuple[str, ...] = ("load_1m",)
"""Fields whose readings are not whole numbers."""

TCP_SILENCE_NS = 30 * NS_PER_S
OTHER_SILENCE_NS = 10 * NS_PER_S
"""Silence after which the next packet of a 5-tuple begins a new flow."""
MAX_FLOWS = 65_536

Row = dict[str, Union[int, float, str, bool, list[str], None]]
"""One row, ready for `json.dumps`; a list of names occurs in a status only."""
Amounts = dict[str, Optional[int]]
"""Netflow amounts by field; all None where they are unknown."""

NO_AMOUNTS: Amounts = dict.fromkeys(NETFLOW_FIELDS)
"""Unknown amounts: of a bucket that was not wholly observed."""


def netflow_row(amounts: Amounts, t_wall_ns: int, t_mono_ns: int) -> Row:
    """Return the netflow row of the bucket that ends at a time."""
    row: Row = {
        "source": NETFLOW_SOURCE,
        "t_wall_ns": t_wall_ns,
        "t_mono_ns": t_mono_ns,
        "available_in_deployment": True,
    }
    row.update(amounts)
    return row

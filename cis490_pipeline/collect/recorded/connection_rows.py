"""Netflow rows of one device from a Zeek ``conn.log``.

A conn.log has one line for a whole connection, written after its end. So all of it counts in the
bucket of its last packet (``ts`` + ``duration``), its SYN and the flow itself included: before that
nothing of it was known. What was spread over its life becomes one spike.
"""

from __future__ import annotations

from collections.abc import Iterator

from cis490_pipeline.collect.contract import Amounts, Row
from cis490_pipeline.collect.flows import Bucket
from cis490_pipeline.collect.recorded.device import Device, Strangers
from cis490_pipeline.collect.recorded.timeline import Timeline, UnreadableError
from cis490_pipeline.collect.recorded.zeek import Connection, ConnLog, End

TOLERANCE_S = 600.0
"""A connection is logged up to its timeout after its last packet: 5 minutes of TCP by default."""


class ConnectionRows:
    """Rows of one device from one conn.log; iterate once, then ask for `left_out`.

    Parameters
    ----------
    log : connections.
    device : which end is the device.
    tolerance_s : how far back in time a connection may end, s.
    edge_ns : end of any bucket, Unix ns.
    """

    def __init__(
        self,
        log: ConnLog,
        device: Device,
        *,
        tolerance_s: float = TOLERANCE_S,
        edge_ns: int = 0,
    ) -> None:
        self.log = log
        self.device = device
        self.timeline = Timeline(
            self._close, tolerance_ns=round(tolerance_s * 1e9), edge_ns=edge_ns
        )
        self.n_connections = 0
        self.n_foreign = 0
        self._open: dict[int, Bucket] = {}
        self.strangers = Strangers()

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows from the first end of a connection to the last, empty buckets included.

        Raises
        ------
        UnreadableError
            If the log cannot be read, or has no MAC addresses for a device named by one.
        """
        for connection in self.log:
            ends = (connection.originator, connection.responder)
            if not self.device.has_ip and not any(end.mac for end in ends):
                raise UnreadableError(
                    f"{self.log.name}: no orig_l2_addr and resp_l2_addr, wanted for a device named "
                    "by MAC; name its IP address, or load policy/protocols/conn/mac-logging in Zeek"
                )
            if self.timeline.takes(connection.end_ns):
                yield from self.timeline.admit(connection.end_ns)
                self._count(connection)
        yield from self.timeline.finish()

    def _close(self, end_ns: int) -> Amounts:
        return (self._open.pop(end_ns, None) or Bucket()).amounts()

    def _count(self, connection: Connection) -> None:
        of_originator, of_responder = (
            self.device(end.address) or (bool(end.mac) and self.device(end.mac))
            for end in (connection.originator, connection.responder)
        )
        if not of_originator and not of_responder:
            self.n_foreign += 1
            if not self.n_connections:
                self.strangers.add(
                    *(end.address for end in (connection.originator, connection.responder))
                )
            return
        self.n_connections += 1
        end_ns = self.timeline.end_of(self.timeline.index_of(connection.end_ns))
        bucket = self._open.get(end_ns)
        if bucket is None:
            bucket = self._open[end_ns] = Bucket()
        bucket.new_flows += 1
        for sender, other, is_device in (
            (connection.originator, connection.responder, of_originator),
            (connection.responder, connection.originator, of_responder),
        ):
            _add(bucket, connection.proto, sender, other, is_device)

    def left_out(self) -> list[str]:
        """Return a line for each kind of what was not counted, and on what a log cannot tell."""
        timeline = self.timeline
        lines = [
            (
                "each connection counts whole at its end: its packets, SYN and flow are one spike "
                "there, repeated SYN and RST count once"
            )
        ]
        if self.n_foreign:
            lines.append(f"left out: {self.n_foreign:,} connections of others than the device")
        if timeline.refused:
            lines.append(
                f"left out: {timeline.refused:,} connections that end before the tolerance, the "
                f"furthest by {timeline.furthest_back_ns / 1e9:.3f} s: raise --tolerance"
            )
        if self.log.cut_off:
            lines.append("left out: a last line that is not whole")
        return [*lines, *timeline.gap_lines()]


def _add(bucket: Bucket, proto: str, sender: End, other: End, is_device: bool) -> None:
    """Add what one end sent."""
    if is_device:
        bucket.pkts_out += sender.packets
        bucket.bytes_out += sender.ip_bytes
        bucket.tcp_syn_out += sender.syn
        if sender.packets:
            bucket.dst_ips.add(other.address)
            if proto in ("tcp", "udp"):
                bucket.dst_ports.add(other.port)
    else:
        bucket.pkts_in += sender.packets
        bucket.bytes_in += sender.ip_bytes
    bucket.tcp_rst += sender.rst
    if proto == "udp":
        bucket.udp_pkts += sender.packets

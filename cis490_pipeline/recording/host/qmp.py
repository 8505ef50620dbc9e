"""Readings of QEMU's machine protocol: block statistics, summed over devices."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from cis490_pipeline.errors import RecordingError

_STATS: Final = {
    "blk_rd_bytes": "rd_bytes",
    "blk_wr_bytes": "wr_bytes",
    "blk_rd_ops": "rd_operations",
    "blk_wr_ops": "wr_operations",
    "blk_flush_ops": "flush_operations",
}


class Monitor(Protocol):
    """A connection to QEMU's machine protocol."""

    async def execute(self, cmd: str) -> Any:
        """Run one command and return its result."""

    async def disconnect(self) -> None:
        """Close the connection."""


async def connect_monitor(path: Path) -> Monitor:
    """Connect to a machine's QMP socket.

    Raises
    ------
    RecordingError
        If nobody listens there, or no QEMU.
    """
    from qemu.qmp import ConnectError, QMPClient

    client = QMPClient("cis490")
    try:
        await client.connect(str(path))
    except ConnectError as fault:
        raise RecordingError(f"{path}: no QEMU answers there: {fault}") from fault
    monitor: Monitor = client
    return monitor


async def read_block_statistics(monitor: Monitor) -> dict[str, int]:
    """Return one reading of all ``qmp`` channels; stamp it after this returns.

    Raises
    ------
    RecordingError
        If the answer does not have the protocol's form.
    """
    from qemu.qmp import QMPError

    try:
        devices = await monitor.execute("query-blockstats")
    except QMPError as fault:
        raise RecordingError(f"QEMU did not answer query-blockstats: {fault}") from fault
    try:
        return {
            field: sum(int(device["stats"][name]) for device in devices)
            for field, name in _STATS.items()
        }
    except (TypeError, KeyError, ValueError) as wrong:
        raise RecordingError(f"query-blockstats answered {devices!r:.200}: {wrong!r}") from wrong


@dataclass(frozen=True)
class Emulator:
    """Version of QEMU, and how it runs the guest's code: ``kvm`` or ``tcg``."""

    version: str
    accel: str


async def read_emulator(monitor: Monitor) -> Emulator:
    """Return what runs the machine."""
    version = (await monitor.execute("query-version"))["qemu"]
    kvm = await monitor.execute("query-kvm")
    return Emulator(
        f"{version['major']}.{version['minor']}.{version['micro']}",
        "kvm" if kvm["enabled"] else "tcg",
    )


async def disconnect(monitor: Monitor) -> None:
    """Close a connection, also one that QEMU's end has broken."""
    from qemu.qmp import QMPError

    with suppress(QMPError, OSError, EOFError):
        await monitor.disconnect()

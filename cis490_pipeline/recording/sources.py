"""Sampling of the four sources of one run, on absolute ticks of the monotonic clock."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cis490_pipeline.collect.contract import Row
from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.errors import RecordingError
from cis490_pipeline.recording.channel.clocks import HostClock
from cis490_pipeline.recording.channel.guest_channel import GuestRows, receive_rows
from cis490_pipeline.recording.host.pressure import PressureMeter
from cis490_pipeline.recording.host.proc import ProcessReader
from cis490_pipeline.recording.host.qmp import Monitor, read_block_statistics

PROC_NS: Final = NS_PER_S // 10
QMP_NS: Final = NS_PER_S
BUCKET_NS: Final = NS_PER_S // 10
_DRAIN_NS: Final = BUCKET_NS // 2
_QMP_LIMIT_S: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Where a running machine can be observed and commanded."""

    pid: int
    qmp: Path
    control: Path
    rows: Path
    interface: str
    """Host's end of the guest's network link: a tap."""


@dataclass
class Sampled:
    """What the samplers recorded so far."""

    guest: GuestRows
    proc: list[Row] = field(default_factory=list)
    qmp: list[Row] = field(default_factory=list)
    netflow: list[Row] = field(default_factory=list)
    packets: int = 0
    packets_dropped: int = 0


class Sampler:
    """Samplers of one machine; `run` samples until it is cancelled."""

    def __init__(self, endpoints: Endpoints, monitor: Monitor, clock: HostClock) -> None:
        self._endpoints, self._monitor, self._clock = endpoints, monitor, clock
        self._process = ProcessReader(endpoints.pid)
        self._meter: PressureMeter | None = None
        self.sampled = Sampled(GuestRows(clock.wall_ns))

    def pressure_meter(self) -> PressureMeter:
        """Return a meter of this host's pressure from now on."""
        self._meter = PressureMeter(ProcessReader(self._endpoints.pid), self._clock.wall_ns())
        return self._meter

    async def run(self) -> None:
        """Sample all sources until cancelled.

        Raises
        ------
        RecordingError
            If the machine ends, or its network cannot be captured.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._proc())
            group.create_task(self._qmp())
            group.create_task(self._netflow())
            group.create_task(receive_rows(self._endpoints.rows, self.sampled.guest))

    async def _proc(self) -> None:
        async for _ in ticks(PROC_NS):
            self._add(self.sampled.proc, Source.PROC, self._process.read())

    async def _qmp(self) -> None:
        async for _ in ticks(QMP_NS):
            try:
                async with asyncio.timeout(_QMP_LIMIT_S):
                    reading = await read_block_statistics(self._monitor)
            except TimeoutError as late:
                raise RecordingError(f"QEMU did not answer within {_QMP_LIMIT_S:.0f} s") from late
            self._add(self.sampled.qmp, Source.QMP, reading)
            if self._meter is not None:
                self._meter.tick()

    def _add(self, rows: list[Row], source: Source, reading: dict[str, int]) -> None:
        # Stamped after the reading: no value is older than its time says.
        at_ns = self._clock.wall_ns()
        rows.append(
            {
                "t_wall_ns": at_ns,
                "t_mono_ns": self._clock.mono_of(at_ns),
                "source": source.row_tag,
                "available_in_deployment": source.deployable,
                **reading,
            }
        )

    async def _netflow(self) -> None:
        from cis490_pipeline.collect.capture import open_capture
        from cis490_pipeline.collect.interfaces import NoCapture

        try:
            capture = open_capture([self._endpoints.interface], from_outside=True)
        except NoCapture as refused:
            raise RecordingError(f"netflow: {refused.reason}; {refused.remedy}") from refused
        try:
            end_ns = time.monotonic_ns() // BUCKET_NS * BUCKET_NS + BUCKET_NS
            async for now_ns in ticks(_DRAIN_NS):
                capture.receive()
                while now_ns >= end_ns + capture.lag_ns:
                    wall_ns = end_ns + self._clock.anchor_ns
                    self.sampled.netflow.append(capture.close_bucket(wall_ns, end_ns))
                    end_ns += BUCKET_NS
                self.sampled.packets, self.sampled.packets_dropped, *_ = capture.statistics()
        finally:
            capture.close()


async def ticks(period_ns: int) -> AsyncIterator[int]:
    """Yield the monotonic time at each multiple of a period; missed multiples are skipped."""
    while True:
        now_ns = time.monotonic_ns()
        await asyncio.sleep((period_ns - now_ns % period_ns) / NS_PER_S)
        yield time.monotonic_ns()

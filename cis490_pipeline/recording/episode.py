"""One run: the script of a planned episode, carried out on a machine while it is sampled."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from cis490_pipeline.domain import NS_PER_S
from cis490_pipeline.errors import RecordingError
from cis490_pipeline.recording.channel.clocks import Bracket, HostClock, assert_certain, fit_clock
from cis490_pipeline.recording.channel.guest_channel import ControlChannel, Exchange
from cis490_pipeline.recording.guest.protocol import Parameters
from cis490_pipeline.recording.host.neighbours import NeighbourUse
from cis490_pipeline.recording.host.pressure import HostPressure
from cis490_pipeline.recording.host.qmp import (
    Emulator,
    connect_monitor,
    disconnect,
    read_emulator,
)
from cis490_pipeline.recording.labels import Confirmed, confirmed_ns
from cis490_pipeline.recording.plan import LOOKALIKES
from cis490_pipeline.recording.schedule import WORKLOAD_SLOT, Background, PlannedEpisode, Step
from cis490_pipeline.recording.sources import BUCKET_NS, Endpoints, Sampled, Sampler

BOOT_LIMIT_S: Final = 180.0
CLOCK_LIMIT_S: Final = 15.0
ACT_LIMIT_S: Final = 30.0
AGENT_LIMIT_S: Final = 45.0
_EXCHANGES: Final = 12
_EXCHANGE_EVERY_S: Final = 15.0
_OVERRUN_S: Final = 1.3
"""Sampling goes on after the end, so that every source covers the last step."""


@dataclass(frozen=True)
class Ran:
    """A look-alike as it ran, Unix ns by this host."""

    activity: str
    began_ns: int
    ended_ns: int


@dataclass
class Run:
    """Record of one run, complete or failed."""

    clock: HostClock
    begin_ns: int | None = None
    """Time of the first label; ``None`` if the run failed before."""
    end_ns: int = 0
    confirmed: list[Confirmed] = field(default_factory=list)
    shams: list[Confirmed] = field(default_factory=list)
    """Steps of a sham-armed control: no labels."""
    brackets: list[Bracket] = field(default_factory=list)
    backgrounds: list[Ran] = field(default_factory=list)
    sampled: Sampled | None = None
    pressure: HostPressure | None = None
    emulator: Emulator | None = None
    neighbours: list[NeighbourUse] = field(default_factory=list)
    failure: str | None = None


async def run_episode(planned: PlannedEpisode, endpoints: Endpoints, *, booting: bool) -> Run:
    """Carry out one run on a machine.

    Parameters
    ----------
    planned : the run and its script.
    endpoints : places of the machine's sockets, its process and its link.
    booting : whether the machine was started just now; else its load runner already waits.

    Returns
    -------
    Run
        With ``failure`` set if the machine, its guest or this host failed; what was sampled until
        then is kept.
    """
    run = Run(HostClock.started())
    try:
        await _run(planned, endpoints, run, booting)
        run.clock.assert_unmoved()
        guest_clock = fit_clock(run.brackets)
        assert_certain(guest_clock)
        for item in [*run.confirmed, *run.shams]:
            confirmed_ns(item, guest_clock)
    except* RecordingError as faults:
        run.failure = str(_first(faults))
    except* (OSError, EOFError) as faults:
        # A socket that closed because QEMU ended.
        run.failure = f"the machine's channels failed: {_first(faults)!r}"
    if run.failure and run.begin_ns:
        run.end_ns = min(run.clock.wall_ns(), run.end_ns or run.clock.wall_ns())
    return run


def _first(faults: BaseExceptionGroup[Any]) -> BaseException:
    fault: BaseException = faults
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return fault


async def _run(planned: PlannedEpisode, endpoints: Endpoints, run: Run, booting: bool) -> None:
    async with AsyncExitStack() as opened:
        control = await ControlChannel.opened(endpoints.control, run.clock)
        opened.push_async_callback(control.close)
        await control.wait_ready(BOOT_LIMIT_S, booting=booting)
        monitor = await connect_monitor(endpoints.qmp)
        opened.push_async_callback(disconnect, monitor)
        run.emulator = await read_emulator(monitor)
        sampler = Sampler(endpoints, monitor, run.clock)
        run.sampled = sampler.sampled
        script = Script(planned, control, run)
        async with asyncio.TaskGroup() as group:
            sampling = group.create_task(sampler.run())
            await script.prepare()
            meter = sampler.pressure_meter()
            await script.perform()
            run.pressure = meter.measured(run.clock.wall_ns())
            await asyncio.sleep(_OVERRUN_S)
            sampling.cancel()


@dataclass(frozen=True)
class _Action:
    """Something to do at a time of the script."""

    at_s: float
    step: Step | None = None
    sham: Step | None = None
    begin: Background | None = None
    end: Background | None = None


class Script:
    """The script of one run: commands to the guest in order of time, and their confirmations."""

    def __init__(self, planned: PlannedEpisode, control: ControlChannel, run: Run) -> None:
        self._planned, self._control, self._run = planned, control, run
        self._begun: dict[str, int] = {}
        self._begin_mono_ns = 0

    async def prepare(self) -> None:
        """Start the host's services, compare clocks and let the machine settle."""
        # A machine that runs already may hold what the run before left, and would be called clean.
        await self._control.request("reset", ACT_LIMIT_S)
        for name in self._planned.host.services:
            await self._start(f"service-{name}", name, {**LOOKALIKES[name], "seed": 0})
        await self._exchange(_EXCHANGES)
        await self._first_row()
        await asyncio.sleep(self._planned.settle_s)

    async def perform(self) -> None:
        """Carry out the script from its first label to its end."""
        # On the grid of the buckets, so that netflow rows end where windows do.
        self._begin_mono_ns = time.monotonic_ns() // BUCKET_NS * BUCKET_NS + BUCKET_NS
        self._run.begin_ns = self._begin_mono_ns + self._run.clock.anchor_ns
        end_ns = self._run.begin_ns + round(self._planned.duration_s * NS_PER_S)
        for action in self._actions():
            await self._sleep_until(action.at_s)
            await self._act(action)
        await self._sleep_until(self._planned.duration_s)
        # Not before: a run that fails has no planned end.
        self._run.end_ns = end_ns
        await self._exchange(_EXCHANGES)

    async def _first_row(self) -> None:
        """Wait for the agent: a run without its rows would be recorded in vain."""
        guest = self._run.sampled.guest if self._run.sampled else None
        until_s = time.monotonic() + AGENT_LIMIT_S
        while guest is not None and not guest.rows:
            if time.monotonic() > until_s:
                raise RecordingError(
                    f"the guest's agent sent no row within {AGENT_LIMIT_S:.0f} s "
                    f"({guest.invalid} lines that are none)"
                )
            await asyncio.sleep(0.1)

    def _actions(self) -> list[_Action]:
        planned = self._planned
        n_exchanges = int(planned.duration_s / _EXCHANGE_EVERY_S)
        every = [
            *(_Action(k * _EXCHANGE_EVERY_S) for k in range(1, n_exchanges + 1)),
            *(_Action(step.at_s, step=step) for step in planned.steps),
            *(_Action(step.at_s, sham=step) for step in planned.shams),
            *(_Action(ran.at_s, begin=ran) for ran in planned.backgrounds),
            *(_Action(ran.end_s, end=ran) for ran in planned.backgrounds),
        ]
        return sorted(every, key=lambda action: action.at_s)

    async def _act(self, action: _Action) -> None:
        if action.step is not None:
            self._run.confirmed.append(await self._take(action.step))
        elif action.sham is not None:
            self._run.shams.append(await self._take(action.sham))
        elif action.begin is not None:
            name = action.begin.activity
            slot = f"background-{name}"
            begun = await self._start(slot, name, action.begin.parameters)
            self._begun[name] = begun.received_ns
        elif action.end is not None:
            name = action.end.activity
            stopped = await self._control.request("stop", ACT_LIMIT_S, slot=f"background-{name}")
            self._run.backgrounds.append(Ran(name, self._begun.pop(name), stopped.received_ns))
        else:
            await self._exchange(1)

    async def _take(self, step: Step) -> Confirmed:
        if step.activity is not None:
            exchange = await self._start(WORKLOAD_SLOT, step.activity, step.parameters)
        else:
            exchange = await self._control.request("stop", ACT_LIMIT_S, slot=WORKLOAD_SLOT)
        return Confirmed(step, exchange)

    async def _start(self, slot: str, activity: str, parameters: Parameters) -> Exchange:
        return await self._control.request(
            "start", ACT_LIMIT_S, slot=slot, activity=activity, parameters=parameters
        )

    async def _exchange(self, n: int) -> None:
        for _ in range(n):
            exchange = await self._control.request("clock", CLOCK_LIMIT_S)
            self._run.brackets.append(exchange.bracket())

    async def _sleep_until(self, at_s: float) -> None:
        left_s = at_s - (time.monotonic_ns() - self._begin_mono_ns) / NS_PER_S
        await asyncio.sleep(max(0.0, left_s))


def lateness_s(confirmed: Sequence[Confirmed], begin_ns: int) -> float:
    """Return how late the latest confirmation of a run came, s; a busy host makes it large."""
    return max(
        ((item.exchange.received_ns - begin_ns) / NS_PER_S - item.step.at_s for item in confirmed),
        default=0.0,
    )

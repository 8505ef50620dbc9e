"""Recorder model: rows at each recorder's sampling times and clock."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import CHANNELS, NS_PER_S, Kind, Source
from cis490_pipeline.domain.arrays import Floats
from cis490_pipeline.simulation.characters import HostCharacter
from cis490_pipeline.simulation.demand import LEAD_S, STEP_S
from cis490_pipeline.simulation.machine import Fields
from cis490_pipeline.simulation.parameters import HOSTS

Columns = dict[str, npt.NDArray[Any]]
"""Columns of one source by row key: ``t_wall_ns``, ``t_mono_ns`` and the readings."""

_GUEST_CLOCK_ERROR_NS: Final = 85_000_000


@dataclass(frozen=True)
class Clocks:
    """Unix time, ns, at which each source's monotonic clock was zero."""

    proc_ns: int
    machine_boot_ns: int
    guest_boot_ns: int


def draw_clocks(t0_ns: int, rng: np.random.Generator) -> Clocks:
    """Draw the clock origins: start of the recorder, boot of host and guest."""
    return Clocks(
        proc_ns=t0_ns - int(rng.uniform(1.0, 5.0) * NS_PER_S),
        machine_boot_ns=t0_ns - int(rng.uniform(1e3, 3e6) * NS_PER_S),
        # Before QEMU started, because the snapshot was taken of a running guest.
        guest_boot_ns=t0_ns - int(rng.uniform(20.0, 400.0) * NS_PER_S),
    )


def record(
    steps: dict[Source, Fields],
    host: HostCharacter,
    t0_ns: int,
    duration_s: float,
    clocks: Clocks,
    rng: np.random.Generator,
) -> dict[Source, Columns]:
    """Record every source, from the first label at ``t0_ns`` (Unix) to the end."""
    times_s = {
        Source.PROC: _proc_times(duration_s, rng),
        Source.QMP: _qmp_times(duration_s, rng),
        Source.GUEST: _guest_times(duration_s, host.guest_hz, rng),
    }
    rows = {
        source: _readings(source, steps[source], seconds, t0_ns, rng)
        for source, seconds in times_s.items()
    }
    rows[Source.NETFLOW] = _buckets(steps[Source.NETFLOW], t0_ns, duration_s)
    origins = {
        Source.PROC: clocks.proc_ns,
        Source.QMP: clocks.proc_ns,
        Source.GUEST: clocks.guest_boot_ns,
        Source.NETFLOW: clocks.machine_boot_ns,
    }
    for source, columns in rows.items():
        columns["t_mono_ns"] = columns["t_wall_ns"] - origins[source]
    guest = rows[Source.GUEST]
    guest["t_guest_wall_ns"] = guest["t_wall_ns"] - _GUEST_CLOCK_ERROR_NS
    guest["t_guest_mono_ns"] = guest["t_mono_ns"] + rng.integers(-200, 200, guest["t_wall_ns"].size)
    return rows


def _proc_times(duration_s: float, rng: np.random.Generator) -> Floats:
    ticks = np.arange(-2, int((duration_s + 0.3) / 0.1) + 1) * 0.1 + float(rng.uniform(0.0, 0.1))
    return ticks + rng.uniform(0.0, 0.004, ticks.size)


def _qmp_times(duration_s: float, rng: np.random.Generator) -> Floats:
    ticks = np.arange(0, int(duration_s) + 2) - float(rng.uniform(0.05, 0.9))
    ticks = ticks[ticks < duration_s + 0.9]
    return ticks + rng.uniform(0.0, 0.02, ticks.size)


def _guest_times(duration_s: float, rate_hz: float, rng: np.random.Generator) -> Floats:
    """Draw the guest's sampling times, with delays, bunching and lost readings."""
    ticks = np.arange(0, int((duration_s + 1.0) * rate_hz)) / rate_hz - float(rng.uniform(0.1, 0.6))
    late = np.where(
        rng.random(ticks.size) < HOSTS.p_guest_stall,
        rng.uniform(0.2, 0.9, ticks.size),
        rng.uniform(0.0, 0.03, ticks.size),
    )
    # A late reading delays those behind it, which follow within a millisecond.
    seconds = np.maximum.accumulate(ticks + late)
    seconds = seconds + np.arange(seconds.size) * 1e-5
    kept = rng.random(seconds.size) >= HOSTS.p_row_lost
    kept[[0, -1]] = True
    # Two consecutive losses would be a gap.
    kept[1:] |= ~kept[:-1]
    taken: Floats = seconds[kept & (seconds < duration_s + 1.2)]
    return taken


def _readings(
    source: Source, fields: Fields, seconds: Floats, t0_ns: int, rng: np.random.Generator
) -> Columns:
    n_steps = next(iter(fields.values())).size
    edges_s = np.arange(n_steps + 1) * STEP_S - LEAD_S
    columns: Columns = {"t_wall_ns": t0_ns + np.rint(seconds * NS_PER_S).astype(np.int64)}
    at = np.clip(((seconds + LEAD_S) / STEP_S).astype(np.int64), 0, n_steps - 1)
    start = rng.integers(2_000, 200_000, len(CHANNELS))
    for k, channel in enumerate(CHANNELS):
        if channel.source is not source:
            continue
        steps = fields[channel.field]
        if channel.kind is Kind.GAUGE:
            level = steps[at]
            columns[channel.field] = level if channel.is_float else level.astype(np.int64)
            continue
        total = np.concatenate([[0.0], np.cumsum(steps)])
        counts = start[k] + np.interp(seconds, edges_s, total).astype(np.int64)
        if channel.may_fall:
            counts -= rng.random(counts.size) < HOSTS.p_iowait_falls
        columns[channel.field] = counts
    return columns


def _buckets(fields: Fields, t0_ns: int, duration_s: float) -> Columns:
    n = int(duration_s / STEP_S)
    first = round(LEAD_S / STEP_S)
    columns: Columns = {"t_wall_ns": t0_ns + np.arange(1, n + 1) * 100_000_000}
    for field, amounts in fields.items():
        columns[field] = amounts[first : first + n].astype(np.int64)
    return columns

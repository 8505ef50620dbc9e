"""Recording faults applied to an episode's rows, without changing the true state of the device.

Each scenario changes only what it names; other sources keep their columns. Randomness comes from a
generator per episode, so that the result does not depend on other episodes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import CHANNELS, INFECTED_PHASES, NS_PER_S, Kind, Phase, Source
from cis490_pipeline.features.calibration.segments import hash_order, pure_stretches
from cis490_pipeline.features.resample import STEP_NS
from cis490_pipeline.store.episode import Episode
from cis490_pipeline.store.rows.columns import TIME, Columns

GAP_S: Final = 10.0
LOST_SHARE: Final = 0.05
ABSENT_SHARE: Final = 0.25
SKEW_S: Final = 2.0

PERTURBATIONS_VERSION: Final = "2"
"""Raised when a scenario changes an episode differently."""

Sources = dict[Source, Columns]
Change = Callable[[Episode, np.random.Generator], Mapping[Source, Columns]]


@dataclass(frozen=True)
class Scenario:
    """One recording fault.

    Attributes
    ----------
    name : identifier in reports.
    what : description.
    change : returns the changed columns by source; other sources are kept.
    infected_baseline : whether the device's baseline is taken during the infection.
    """

    name: str
    what: str
    change: Change
    infected_baseline: bool = False


def perturbed(episode: Episode, scenario: Scenario, *, seed: int) -> Episode:
    """Apply a scenario to an episode; its labels, phases and times are kept.

    The randomness depends on the seed and the episode's id alone.
    """
    of_episode = int.from_bytes(hash_order(f"{scenario.name}/{episode.ref}")[:8], "big")
    changed = scenario.change(episode, np.random.default_rng([seed, of_episode]))
    return replace(episode, columns={**episode.columns, **changed})


def infection_ns(episode: Episode) -> int | None:
    """Return the start of the first infected phase, Unix ns; None without one."""
    times = [label.t_wall_ns for label in episode.labels if label.phase in INFECTED_PHASES]
    return min(times) if times else None


def baseline_step(episode: Episode, n_steps: int, scenario: Scenario) -> int:
    """Return the first step of the 15 s used as the baseline.

    With ``infected_baseline`` the first 15 s within ``infected_running``, else within another
    infected phase; 0 if no infected phase is long enough.
    """
    if not scenario.infected_baseline:
        return 0
    times = [label.t_wall_ns for label in episode.labels]
    names = [str(label.phase) for label in episode.labels]
    segments = list(pure_stretches(n_steps, times, names, episode.t0_ns))
    phases = list(Phase)
    running = [start for start, k in segments if phases[k] is Phase.INFECTED_RUNNING]
    infected = [start for start, k in segments if phases[k] in INFECTED_PHASES]
    return (running or infected or [0])[0]


def kept_rows(columns: Columns, wanted: npt.NDArray[np.bool_]) -> Columns:
    """Select rows of a source by a mask (n_rows,)."""
    return Columns(
        {name: values[wanted] for name, values in columns.values.items()},
        {name: known[wanted] for name, known in columns.known.items()},
    )


def _nothing(episode: Episode, rng: np.random.Generator) -> Sources:
    return {}


def _dead(source: Source) -> Change:
    def change(episode: Episode, rng: np.random.Generator) -> Sources:
        columns = episode.columns.get(source)
        if columns is None:
            return {}
        return {source: kept_rows(columns, np.zeros(columns.n_rows, dtype=np.bool_))}

    return change


def _guest_dies(episode: Episode, rng: np.random.Generator) -> Sources:
    guest, since = episode.columns.get(Source.GUEST), infection_ns(episode)
    if guest is None or since is None:
        return {}
    return {Source.GUEST: kept_rows(guest, guest.times < since)}


def _gap(source: Source, seconds: float) -> Change:
    def change(episode: Episode, rng: np.random.Generator) -> Sources:
        columns = episode.columns.get(source)
        if columns is None:
            return {}
        since = moment_ns(episode)
        lost = (columns.times >= since) & (columns.times < since + round(seconds * NS_PER_S))
        return {source: kept_rows(columns, ~lost)}

    return change


def _rows_lost(episode: Episode, rng: np.random.Generator) -> Sources:
    # In source order, independent of the order of reading.
    there = [source for source in Source if source in episode.columns]
    changed = {}
    for source in there:
        columns = episode.columns[source]
        n_lost = round(LOST_SHARE * columns.n_rows)
        wanted = np.ones(columns.n_rows, dtype=np.bool_)
        wanted[rng.choice(columns.n_rows, n_lost, replace=False)] = False
        changed[source] = kept_rows(columns, wanted)
    return changed


def _channels_absent(source: Source) -> Change:
    of_source = sorted(channel.field for channel in CHANNELS if channel.source is source)
    n_absent = round(ABSENT_SHARE * len(of_source))

    def change(episode: Episode, rng: np.random.Generator) -> Sources:
        columns = episode.columns.get(source)
        if columns is None:
            return {}
        absent = rng.choice(of_source, n_absent, replace=False).tolist()
        unknown = {
            name: np.zeros(columns.n_rows, dtype=np.bool_)
            for name in absent
            if name in columns.values
        }
        return {source: Columns(columns.values, {**columns.known, **unknown})}

    return change


def _skew(source: Source) -> Change:
    def change(episode: Episode, rng: np.random.Generator) -> Sources:
        columns = episode.columns.get(source)
        if columns is None:
            return {}
        by = round(SKEW_S * NS_PER_S) * (1 if rng.integers(2) else -1)
        return {source: Columns({**columns.values, TIME: columns.times + by}, columns.known)}

    return change


def _counter_reset(episode: Episode, rng: np.random.Generator) -> Sources:
    at = moment_ns(episode)
    changed = {}
    for source, columns in episode.columns.items():
        counters = {c.field for c in CHANNELS if c.source is source and c.kind is Kind.COUNTER}
        counted = sorted(counters & columns.values.keys())
        if counted:
            reset = {name: restarted(columns, name, at) for name in counted}
            changed[source] = Columns({**columns.values, **reset}, columns.known)
    return changed


def restarted(columns: Columns, name: str, at_ns: int) -> npt.NDArray[np.int64]:
    """Return a counter's readings as if it had been reset to zero at ``at_ns``, Unix ns.

    Its value at that time is interpolated linearly, so that the growth since the previous reading
    is lost, as on a real device. From the next recorded fall on, readings are kept as recorded.
    Unchanged unless there are readings both before and after.
    """
    count = columns.values[name].astype(np.int64)
    known = columns.known.get(name, np.ones(columns.n_rows, dtype=np.bool_))
    rows = np.flatnonzero(known)
    t, readings = columns.times[rows], count[rows]
    first = int(np.searchsorted(t, at_ns, side="left"))
    if first in (0, rows.size) or readings[first] < readings[first - 1]:
        return count
    share = (at_ns - int(t[first - 1])) / (int(t[first]) - int(t[first - 1]))
    stood = int(readings[first - 1]) + round(share * int(readings[first] - readings[first - 1]))
    falls = np.flatnonzero(readings[first + 1 :] < readings[first:-1])
    end = first + 1 + int(falls[0]) if falls.size else rows.size
    count[rows[first:end]] -= stood
    return count


def moment_ns(episode: Episode) -> int:
    """Return the time of an instantaneous fault: the infection's start, or a clean run's middle."""
    since = infection_ns(episode)
    if since is not None:
        return since
    return episode.t0_ns + (episode.end_ns - episode.t0_ns) // (2 * STEP_NS) * STEP_NS


UNPERTURBED: Final = Scenario("unperturbed", "as it was recorded", _nothing)

SCENARIOS: Final[tuple[Scenario, ...]] = (
    Scenario("guest_dies", "the guest agent dies as the infection begins", _guest_dies),
    Scenario(
        "qmp_gap",
        "no QMP row for 10 s from the moment the infection begins (clean runs: from the middle)",
        _gap(Source.QMP, GAP_S),
    ),
    Scenario("qmp_dead", "QMP records nothing at all", _dead(Source.QMP)),
    Scenario("guest_dead", "the guest agent records nothing at all", _dead(Source.GUEST)),
    Scenario("netflow_dead", "netflow records nothing at all", _dead(Source.NETFLOW)),
    Scenario(
        "guest_channels",
        "one guest channel in four is never recorded, drawn for each episode",
        _channels_absent(Source.GUEST),
    ),
    Scenario("rows_lost", "5 % of the rows of each source are lost, drawn at random", _rows_lost),
    *(
        Scenario(
            f"skew_{source}",
            f"the clock of {source} is off by 2 s, ahead or behind, drawn for each episode",
            _skew(source),
        )
        for source in Source
    ),
    Scenario(
        "counter_reset",
        "all counters restart from zero as the infection begins (clean runs: in the middle)",
        _counter_reset,
    ),
    Scenario(
        "infected_baseline",
        "the 15 s that calibrate the device are the first of infected_running",
        _nothing,
        infected_baseline=True,
    ),
)
"""Scenarios in report order; each is applied alone."""

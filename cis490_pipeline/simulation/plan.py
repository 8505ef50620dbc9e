"""Plan of one run: phases, label times, and times of the actual change in behaviour."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from cis490_pipeline.domain import Phase
from cis490_pipeline.domain.arrays import Floats
from cis490_pipeline.simulation.parameters import PHASE_LETTERS, TIMING

_EVENTS: Final[dict[Phase, tuple[str, ...]]] = {
    # Aborted: the workload is removed before it was executed.
    Phase.CLEAN: ("workload_removed",),
    Phase.ARMED: ("workload_armed",),
    Phase.INFECTING: ("workload_infecting", "exploit_fire"),
    Phase.INFECTED_RUNNING: ("workload_started",),
    Phase.DORMANT: ("workload_killed", "session_idle"),
}
_EARLIEST_BEHAVIOUR_S: Final = 15.2


@dataclass(frozen=True, eq=False)
class Plan:
    """The phases of one run, in order; times are seconds since the first label."""

    phases: tuple[Phase, ...]
    label_s: Floats
    """(n_phases,) time of each label."""
    behaviour_s: Floats
    """(n_phases + 1,) start of each phase's behaviour, and the end of the run."""
    duration_s: float
    events: tuple[str, ...]
    """Event of the orchestrator at each label after the first."""


def draw_plan(rng: np.random.Generator, *, infected: bool | None = None) -> Plan:
    """Draw a run that leaves ``clean`` or not, as ``infected`` says; at random if None."""
    allowed = [q if infected in (None, len(text) > 1) else 0.0 for q, text in TIMING.plans]
    p = np.array(allowed)
    letters: str = TIMING.plans[rng.choice(p.size, p=p / p.sum())][1]
    phases = tuple(PHASE_LETTERS[letter] for letter in letters)
    # Whole milliseconds, as in recorded durations.
    duration_s = round(float(rng.uniform(*TIMING.duration_s)), 3)
    n = len(phases)
    least = np.full(n, TIMING.phase_s)
    least[0] = TIMING.clean_s
    shares = np.ones(n)
    if n > 1:
        # The first phase's share is drawn separately, because it delays everything else.
        shares[0] = rng.uniform(*TIMING.clean_share)
        shares[1:] = (1.0 - shares[0]) * rng.dirichlet(np.full(n - 1, TIMING.dirichlet))
    lengths = least + shares * (duration_s - least.sum())
    label_s = np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
    earliest, latest = TIMING.offset_s
    offset = rng.uniform(earliest, latest, n)
    offset[rng.random(n) < TIMING.p_behaviour_first] *= -1
    behaviour_s = np.maximum(label_s + offset, _EARLIEST_BEHAVIOUR_S)
    behaviour_s[0] = -np.inf
    behaviour_s = np.append(np.maximum.accumulate(behaviour_s), np.inf)
    events = []
    for before, phase in pairwise(phases):
        names = _EVENTS[phase]
        if phase is Phase.INFECTED_RUNNING and before is Phase.DORMANT:
            names = ("session_open",)
        events.append(names[int(rng.integers(len(names)))])
    return Plan(phases, label_s, behaviour_s, duration_s, tuple(events))

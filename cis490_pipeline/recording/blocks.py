"""Blocks of a plan: parts that are recorded one by one, each with every host in it.

A recording of hours is committed block by block; a host that came in one block only would make
the hour of the recording, and what this machine did then, part of that host.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np

from cis490_pipeline.recording.guest.protocol import Parameters
from cis490_pipeline.recording.plan import HostShape, Profile, RecordingPlan

MAX_BLOCK_S: Final = 3600.0
"""Longest block that is advisable: what is lost if this machine is."""
BESIDES_S: Final = 18.0
"""Boot, clock comparison and closing of a run, seconds, measured with four lanes on two cores."""


@dataclass(frozen=True, kw_only=True)
class Treatment:
    """A sample and the index of its set of parameters."""

    profile: Profile
    index: int

    @property
    def activity(self) -> str:
        """Activity of the guest's load runner that mimics it."""
        return str(self.profile.__struct_config__.tag)

    @property
    def parameters(self) -> Parameters:
        """The set of parameters."""
        values: Parameters = msgspec.to_builtins(self.profile.parameters[self.index])
        return values

    def is_for(self, host: HostShape) -> bool:
        """Whether a host may get it."""
        return not self.profile.only_on or host.name in self.profile.only_on


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """Host and treatment of one run, before its script is drawn."""

    host: HostShape
    treatment: Treatment | None = None
    clean_s: float | None = None
    """Length of an additional clean run."""
    is_plain: bool = False
    """Whether it has no look-alikes."""


def treatments(plan: RecordingPlan) -> list[Treatment]:
    """Return every sample with every set of its parameters."""
    return [
        Treatment(profile=profile, index=index)
        for profile in plan.profile
        for index in range(len(profile.parameters))
    ]


def in_blocks(
    plan: RecordingPlan, runs: Sequence[PlannedRun], rng: np.random.Generator
) -> list[list[PlannedRun]]:
    """Divide runs into the plan's blocks at ends of rounds, and add the additional clean runs.

    Parameters
    ----------
    plan : with at least as many episodes as blocks times hosts.
    runs : in order; each round of as many runs as there are hosts has each host once.
    rng : draws the places of the additional runs.

    Returns
    -------
    list of list of PlannedRun
        Of about equal length in time. Long runs are in the first half of a block: lanes that wait
        for one at the end would stand idle.
    """
    n_hosts = len(plan.host)
    n_rounds = -(-len(runs) // n_hosts)
    edges = [n_hosts * (k * n_rounds // plan.blocks) for k in range(plan.blocks + 1)]
    blocks = [list(runs[begin:end]) for begin, end in pairwise(edges)]
    usual_s = _usual_s(plan)
    spent_s = np.array([usual_s * len(block) for block in blocks])
    additional = _additional(plan)
    shuffled = [additional[k] for k in rng.permutation(len(additional)).tolist()]
    for run in sorted(shuffled, key=lambda run: -(run.clean_s or 0.0)):
        k = int(np.argmin(spent_s))
        spent_s[k] += (run.clean_s or 0.0) + BESIDES_S
        blocks[k].insert(int(rng.integers(len(blocks[k]) // 2 + 1)), run)
    return blocks


def _additional(plan: RecordingPlan) -> list[PlannedRun]:
    baselines = [
        PlannedRun(host=host, clean_s=float(plan.baseline_run_s), is_plain=True)
        for host in plan.host
        if plan.baseline_run_s is not None
    ]
    return baselines + [
        PlannedRun(host=host, clean_s=float(seconds))
        for host in plan.host
        for seconds in host.clean_runs_s
    ]


def _usual_s(plan: RecordingPlan) -> float:
    timing = plan.timing
    means_s = (sum(bounds) / 2 for bounds in (timing.settle_s, timing.chain_s))
    return timing.lead_s + timing.lead_mean_s + sum(means_s) + BESIDES_S


def lanes_take_s(lengths_s: Sequence[float], lanes: int) -> float:
    """Return how long lanes take for runs of given lengths, each run in the first free lane, s.

    Examples
    --------
    >>> lanes_take_s([60.0, 60.0, 60.0], lanes=2) - 2 * BESIDES_S
    120.0
    """
    free_at_s = [0.0] * lanes
    for length_s in lengths_s:
        heappush(free_at_s, heappop(free_at_s) + length_s + BESIDES_S)
    return max(free_at_s)

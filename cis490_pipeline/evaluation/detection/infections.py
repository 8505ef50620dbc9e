"""Infections: runs of infected phases in an episode's labels, each to be found for itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from cis490_pipeline.domain import INFECTED_PHASES, Phase
from cis490_pipeline.domain.arrays import Floats, Ints

STARTS: Final = (Phase.INFECTING, Phase.INFECTED_RUNNING)
"""Phases that an infection starts with; a run of ``dormant`` alone is none to be found."""

NO_END: Final = np.iinfo(np.int64).max


@dataclass(frozen=True, kw_only=True, eq=False)
class Infections:
    """Infections of E episodes, (I,) each, in order of episode and time.

    With phases in random order an episode may be infected, cleaned and infected again: each is an
    infection of its own.

    Attributes
    ----------
    episode : number of the episode.
    begin_s : first label of the run, s since the episode's first label.
    onset_s : first ``infecting`` or ``infected_running``, which delays count from. Later than the
        beginning where ``dormant`` comes first: an alarm that rises then is of this infection.
    """

    episode: Ints
    begin_s: Floats
    onset_s: Floats

    def __len__(self) -> int:
        """Return the number of infections."""
        return len(self.episode)


def infections_in(label_t_ns: Ints, phases: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Yield beginning, onset and end of each infection, Unix ns; an end that is open is NO_END."""
    infected = np.array([phase in INFECTED_PHASES for phase in phases], dtype=np.bool_)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], infected, [False]])))
    for first, after in list(pairwise(edges.tolist()))[::2]:
        started = [k for k in range(first, after) if phases[k] in STARTS]
        if started:
            end = int(label_t_ns[after]) if after < len(phases) else NO_END
            yield int(label_t_ns[first]), int(label_t_ns[started[0]]), end

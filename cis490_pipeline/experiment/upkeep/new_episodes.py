"""Drift of newly arrived episodes from earlier ones of the same host."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, prod
from typing import Final

import numpy as np
import polars as pl

from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.arrays import Floats
from cis490_pipeline.experiment.studies.drawing import drawn, ids_of
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.stress.population_stability import window_levels
from cis490_pipeline.features.stress.shift_test import ShiftTest, shift_test

ALPHA: Final = 0.01
"""Probability of any false alarm in a sweep, over all hosts and channels."""
MAX_EPISODES: Final = 200
"""Episodes of a host that are compared, on each side; of more a fixed draw."""

_CHANNELS: Final = channel_names(Variant.ORACLE)


@dataclass(frozen=True, kw_only=True)
class HostDrift:
    """How far the new episodes of one host are from earlier ones."""

    host: str
    n_new: int
    n_earlier: int
    """Earlier episodes of the host, or hosts before it if it is new."""
    is_new: bool
    """Whether the host had no episode before."""
    smallest_p: float
    """Smallest p that so few episodes (or hosts) can have."""
    test: ShiftTest

    @property
    def compared_with(self) -> str:
        """What the new episodes are compared with."""
        return f"{self.n_earlier} {'earlier hosts' if self.is_new else 'earlier ones'}"


def host_drifts(
    grids: GridStore, earlier: pl.DataFrame, new: pl.DataFrame, *, seed: int
) -> list[HostDrift]:
    """Test each host that has new episodes, sorted by host.

    A host is compared with its own earlier episodes, exchanged within their profile. A new host is
    compared with all earlier hosts, each as one unit: devices differ, so one more is no drift
    unless it is farther from the others than they are from one another.

    Parameters
    ----------
    earlier, new : episodes that have a grid: episode_id, host_id, profile.
    seed : of the permutations.
    """
    drifts = []
    for host in sorted(set(new["host_id"])):
        of_host, before = new.filter(host_id=host), earlier.filter(host_id=host)
        if before.height:
            drifts.append(_of_known_host(grids, host, before, of_host, seed))
        elif earlier.height:
            drifts.append(_of_new_host(grids, host, earlier, of_host, seed))
    return drifts


def level_of(drifts: Sequence[HostDrift], alpha: float = ALPHA) -> float:
    """Level at which each host is tested, so that ``alpha`` holds over all (Tarone, 1990).

    Bonferroni over the hosts that have enough episodes to be significant at all.
    """
    for n in range(1, len(drifts) + 1):
        if sum(drift.smallest_p <= alpha / n for drift in drifts) <= n:
            return alpha / n
    return alpha


def _of_known_host(
    grids: GridStore, host: str, before: pl.DataFrame, of_host: pl.DataFrame, seed: int
) -> HostDrift:
    some = [_drawn(before), _drawn(of_host)]
    values = [_levels(grids, rows) for rows in some]
    strata = [profile or "" for rows in some for profile in rows["profile"]]
    counts = [rows["profile"].fill_null("").value_counts() for rows in some]
    n_before, n_new = (dict(count.iter_rows()) for count in counts)
    n_assignments = prod(comb(n + n_before.get(p, 0), n) for p, n in n_new.items())
    return HostDrift(
        host=host,
        n_new=of_host.height,
        n_earlier=before.height,
        is_new=False,
        smallest_p=1 / n_assignments,
        test=shift_test(_CHANNELS, values[0], values[1], strata, seed=seed),
    )


def _of_new_host(
    grids: GridStore, host: str, earlier: pl.DataFrame, of_host: pl.DataFrame, seed: int
) -> HostDrift:
    groups = [rows for _, rows in sorted(earlier.group_by("host_id"))]
    units = [np.concatenate(_levels(grids, _drawn(rows))) for rows in (*groups, of_host)]
    return HostDrift(
        host=host,
        n_new=of_host.height,
        n_earlier=len(groups),
        is_new=True,
        smallest_p=1 / len(units),
        test=shift_test(_CHANNELS, units[:-1], units[-1:], [""] * len(units), seed=seed),
    )


def _drawn(episodes: pl.DataFrame) -> pl.DataFrame:
    chosen = drawn(ids_of(episodes), MAX_EPISODES)
    return episodes.filter(pl.col("episode_id").is_in(chosen)).sort("episode_id")


def _levels(grids: GridStore, episodes: pl.DataFrame) -> list[Floats]:
    """Window means of each episode's channels less its own baseline, as models see them."""
    medians = episodes.select("episode_id").join(
        grids.frame.select("episode_id", "baseline_median"), on="episode_id", maintain_order="left"
    )
    return [window_levels(grids.grid(name), median) for name, median in medians.iter_rows()]

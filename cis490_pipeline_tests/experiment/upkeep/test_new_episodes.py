"""Ten random episodes of the recorded corpus have not drifted; those of a shifted host have."""

from math import comb

import numpy as np
import polars as pl
import pytest

from cis490_pipeline.domain import Variant
from cis490_pipeline.experiment.pipeline.corpus import GridShards
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.upkeep.new_episodes import HostDrift, host_drifts, level_of
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.stress.shift_test import ShiftTest
from cis490_pipeline.storage.parquet import read_table
from cis490_pipeline.store.verdicts.eligibility import usable_expr
from cis490_pipeline_tests.experiment.runs import THINKPAD

COLUMNS = ("episode_id", "host_id", "profile")
NO_TEST = ShiftTest((), np.array([]), np.array([]))


class Louder(GridStore):
    """Grids in which some episodes have twenty times the network traffic."""

    def __init__(self, folder, episode_ids):
        super().__init__(folder)
        self._louder = set(episode_ids)
        self._traffic = [
            i for i, name in enumerate(channel_names(Variant.ORACLE)) if "netflow" in name
        ]

    def grid(self, episode_id):
        grid = np.array(super().grid(episode_id))
        if episode_id in self._louder:
            grid[:, self._traffic] = np.log1p(20 * np.expm1(grid[:, self._traffic]))
        return grid


@pytest.fixture(scope="module")
def recorded(finished: Workspace) -> tuple[GridStore, pl.DataFrame]:
    grids = GridStore(GridShards(finished).folder)
    verdicts = read_table(finished.paths.validation).filter(usable_expr())
    return grids, verdicts.select(COLUMNS).join(grids.frame, on="episode_id", how="semi")


def parted(episodes, seed, n=10):
    """Draw new episodes; the others came before."""
    shuffled = episodes.sample(fraction=1, shuffle=True, seed=seed)
    return shuffled[n:], shuffled[:n]


def shifted(drifts):
    level = level_of(drifts)
    return {drift.host: found for drift in drifts if (found := drift.test.shifted(level))}


@pytest.mark.parametrize("seed", range(4))
def test_ten_random_episodes_raise_nothing(recorded, seed):
    grids, episodes = recorded

    assert shifted(host_drifts(grids, *parted(episodes, seed), seed=0)) == {}


def test_a_shifted_host_is_named_with_its_channels_and_no_other_is(recorded):
    grids, episodes = recorded
    earlier, new = parted(episodes, 0, n=20)
    ids = new.filter(host_id=THINKPAD)["episode_id"].to_list()

    found = shifted(host_drifts(Louder(grids.folder, ids), earlier, new, seed=0))

    assert found.keys() == {THINKPAD}
    assert {name.split(".")[0] for name, _ in found[THINKPAD]} == {"netflow"}


def test_a_new_host_is_compared_with_all_earlier_ones_and_three_are_too_few(recorded):
    grids, episodes = recorded
    is_new = pl.col("host_id") == "lab-nuc"
    earlier, new = episodes.filter(~is_new), episodes.filter(is_new)

    (drift,) = host_drifts(grids, earlier, new, seed=0)

    assert (drift.host, drift.is_new, drift.n_earlier) == ("lab-nuc", True, 3)
    assert (drift.smallest_p, shifted([drift])) == (1 / 4, {})


def test_smallest_p_is_that_of_the_assignments_within_profiles(recorded):
    grids, episodes = recorded
    own = episodes.filter(host_id=THINKPAD).sort("episode_id")
    earlier, new = own[3:], own[:3]
    expected = 1
    for profile, n in new["profile"].fill_null("").value_counts().iter_rows():
        expected *= comb(int((own["profile"].fill_null("") == profile).sum()), n)

    (drift,) = host_drifts(grids, earlier, new, seed=0)

    assert drift.smallest_p == pytest.approx(1 / expected)


def drift_with(smallest_p):
    return HostDrift(
        host="a", n_new=1, n_earlier=1, is_new=False, smallest_p=smallest_p, test=NO_TEST
    )


@pytest.mark.parametrize(
    ("smallest", "level"),
    [
        ([0.001], 0.01),
        ([0.001, 0.001], 0.005),
        ([0.001, 0.25, 0.5], 0.01),
        ([0.001, 0.004, 0.25], 0.005),
        ([0.25, 0.5], 0.01),
        ([], 0.01),
    ],
)
def test_only_hosts_that_can_be_significant_share_the_level(smallest, level):
    assert level_of([drift_with(p) for p in smallest], 0.01) == level

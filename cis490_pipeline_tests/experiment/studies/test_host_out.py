"""Folds and episodes of leave-one-host-out, without a training."""

import polars as pl
import pytest
from sklearn.model_selection import LeaveOneGroupOut

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Architecture, Variant
from cis490_pipeline.errors import TrainingError
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.studies.host_out import (
    Scope,
    folds_of,
    leave_one_host_out,
    scope_of,
    without_kept_back,
)
from cis490_pipeline.experiment.studies.runs import StudyRuns
from cis490_pipeline_tests.evaluation.made_up import predictions, windows

HOSTS = ("attic", "cellar", "garage", "hall")
SIDES = {"attic": "train", "cellar": "train", "garage": "val", "hall": "test"}


def corpus(hosts=HOSTS, n=4, clean_only=()):
    rows = [
        {
            "episode_id": f"{host}-{k}",
            "host_id": host,
            "profile": None if host in clean_only or k == 0 else "flood",
            # The last of each host may train, and is never scored.
            "scorable": k < n - 1,
            "side": SIDES.get(host, "train"),
        }
        for host in hosts
        for k in range(n)
    ]
    return pl.DataFrame(rows, schema_overrides={"profile": pl.String})


class Recorded(StudyRuns):
    """Notes what is asked for and predicts without a model."""

    def __init__(self, *, seed=0, fault_without=None):
        super().__init__(Workspace(Settings()), Architecture.GBT, Variant.REALISTIC, seed=seed)
        self.asked, self.fault_without = [], fault_without

    def predictions(self, arrangement):
        if arrangement.name == f"without {self.fault_without}":
            raise TrainingError("by hand")
        self.asked.append(arrangement)
        one = windows(n_test=1, n_val=0, hosts=[arrangement.name.removeprefix("without ")])
        keys = [one.with_columns(episode_id=pl.lit(name)) for name in arrangement.scored]
        val = one.with_columns(episode_id=pl.lit(arrangement.val[0]), side=pl.lit("val"))
        return predictions(pl.concat([*keys, val]), skill=2, seed=self.seed)


def test_folds_are_those_of_leave_one_group_out():
    runs, episodes = Recorded(), corpus()
    groups = episodes["host_id"].to_numpy()
    names = episodes["episode_id"].to_numpy()

    study = leave_one_host_out([[runs]], Scope(episodes=episodes), seed=0)

    peer = list(LeaveOneGroupOut().split(names, groups=groups))
    assert len(runs.asked) == len(peer) == len(study["folds"])
    unscorable = set(episodes.filter(~pl.col("scorable"))["episode_id"])
    for found, (rest, left_out) in zip(runs.asked, peer, strict=True):
        assert set(found.scored) == set(names[left_out]) - unscorable
        assert {*found.train, *found.val} <= set(names[rest])
        # What may not be scored of the validating host has no other use.
        assert set(names[rest]) - {*found.train, *found.val} <= unscorable


def test_one_whole_other_host_validates_and_never_the_scored_one():
    folds = folds_of(HOSTS, HOSTS)

    assert [(fold["scored"], fold["val"]) for fold in folds] == [
        ("attic", "cellar"),
        ("cellar", "garage"),
        ("garage", "hall"),
        ("hall", "attic"),
    ]
    for fold in folds:
        assert sorted([fold["scored"], fold["val"], *fold["train"]]) == list(HOSTS)


def test_folds_do_not_depend_on_the_order_of_hosts():
    assert folds_of(HOSTS, HOSTS) == folds_of(HOSTS[::-1], set(HOSTS))


def test_a_host_without_infected_episodes_is_scored_and_never_validates():
    runs = Recorded()

    study = leave_one_host_out([[runs]], Scope(episodes=corpus(clean_only=["cellar"])), seed=0)

    assert [fold["val"] for fold in study["folds"]] == ["garage", "garage", "hall", "attic"]
    assert study["rows"][0]["n_episodes"] == 12


def test_a_score_pools_every_scorable_episode_for_each_seed():
    runs = [Recorded(seed=0), Recorded(seed=1)]

    (row,) = leave_one_host_out([runs], Scope(episodes=corpus()), seed=0)["rows"]

    assert (row["n_episodes"], row["n_windows"]) == (12, 120)
    assert [host["n_episodes"] for host in row["per_host"]] == [3, 3, 3, 3]
    assert row["seeds"]["seeds"] == [0, 1]
    assert row["seeds"]["macro_f1"][0] == row["macro_f1"] != row["seeds"]["macro_f1"][1]


def test_a_model_that_cannot_be_trained_without_a_host_has_no_score_and_says_why():
    study = leave_one_host_out(
        [[Recorded(fault_without="garage")]], Scope(episodes=corpus()), seed=0
    )

    (row,) = study["rows"]
    assert (row["macro_f1"], row["why"]) == (None, "without garage: by hand")


def test_fewer_than_three_hosts_leave_none_to_train_on():
    runs = Recorded()

    study = leave_one_host_out([[runs]], Scope(episodes=corpus(HOSTS[:2])), seed=0)

    assert (study["folds"], study["rows"], runs.asked) == ([], [], [])
    assert "2 hosts may be scored" in study["why"]


# --- what may be looked at


def test_where_validation_hosts_are_named_no_test_host_is_ever_among_the_episodes():
    episodes = corpus()
    for settings in (
        Settings(train_hosts=("attic", "cellar"), val_hosts=("garage",)),
        Settings(train_hosts=("attic",), val_hosts=("garage",)),
    ):
        # Of another recipe the kept-back host may be on any side.
        for index in (episodes, episodes.with_columns(side=pl.lit("train"))):
            scope = scope_of(episodes, index, settings)

            hosts = {*settings.train_hosts, *settings.val_hosts}
            assert set(scope.episodes["host_id"]) == hosts
            assert scope.opened_test == {}


def test_where_validation_hosts_are_named_the_others_are_kept_back():
    settings = Settings(train_hosts=("attic",), val_hosts=("garage",))

    assert set(without_kept_back(corpus(), settings)["host_id"]) == {"attic", "garage"}
    assert without_kept_back(corpus(), Settings()).equals(corpus())


def test_three_hosts_on_train_and_val_keep_the_test_side_shut():
    scope = scope_of(corpus(), corpus(), Settings())

    assert set(scope.episodes["host_id"]) == {"attic", "cellar", "garage"}
    assert scope.opened_test == {}


@pytest.mark.parametrize("on_train", [["attic"], ["attic", "cellar"]])
def test_fewer_hosts_open_the_test_side_and_count_it(on_train):
    index = corpus().with_columns(
        side=pl.when(pl.col("host_id").is_in(on_train))
        .then(pl.lit("train"))
        .otherwise(pl.lit("test"))
    )

    scope = scope_of(corpus(), index, Settings())

    assert set(scope.episodes["host_id"]) == set(HOSTS)
    assert scope.opened_test == {host: 3 for host in HOSTS if host not in on_train}

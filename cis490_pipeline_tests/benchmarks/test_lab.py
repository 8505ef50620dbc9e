"""The pieces of `make bench-lab` on a simulated store and made-up windows."""

import json

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import f1_score
from sklearn.model_selection import LeaveOneGroupOut

from benchmarks.contest import Arrangement
from benchmarks.host_sides import Sides
from benchmarks.kept import Kept
from benchmarks.lab import contestants, page
from benchmarks.lab.contestants import Contestant, log_bins
from benchmarks.lab.folds import LabSides
from benchmarks.lab.tables import counts, ensemble, pairs, pooled, standings
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Side
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.columns import CALIBRATED
from cis490_pipeline.models.spec import input_spec
from cis490_pipeline_tests.models.made_up import make_windows

HOSTS = tuple("abcdef")


class Toy(Arrangement):
    """Made-up windows instead of a store's."""

    def sides(self, kind):
        shape = input_spec(kind, self.variant).shape
        train, val, test = (make_windows(shape, 60, seed=k, shift=6.0) for k in range(3))
        return Sides(train=train, val=val, test=test, test_hosts=np.repeat(self.name, 60))


@pytest.fixture
def kept(tmp_path):
    return Kept(tmp_path / "kept", {"numpy": "1"})


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("lab")
    kept = Kept(tmp_path / "kept", {"numpy": "1"})
    chosen = {
        "gbt_history": Contestant(of="gbt", kind="history", config={"max_rounds": 2}),
        "extra_trees_summary": contestants.peers()["extra_trees_summary"],
        "bins": Contestant(
            of="gbt", kind="history", config={"max_rounds": 2}, columns=("bin_1", "bin_2")
        ),
        "log": Contestant(
            of="gbt",
            kind="tensor",
            config={"max_rounds": 2},
            columns=("bin_1", "bin_2", "bin_3", "bin_4", "bin_5"),
        ),
    }
    places = {host: Toy(host, None, None, tmp_path) for host in ("h1", "h2")}
    return {
        (name, host, seed): of.run(kept, place, seed)
        for name, of in chosen.items()
        for host, place in places.items()
        for seed in range(2)
    }


@pytest.fixture
def sides(tmp_path, monkeypatch):
    rows = [(f"e{host}{i}", host) for host in HOSTS for i in range(4)]
    frame = pl.DataFrame(rows, schema=["episode_id", "host_id"], orient="row").with_columns(
        profile=pl.lit("flood"),
        scorable=pl.lit(True),
        baseline_clean=pl.lit(True),
        sample_name=pl.lit("gale"),
        received_at_wall=pl.lit("2026-01-01T00:00:00Z"),
    )
    monkeypatch.setattr(LabSides, "episodes", frame)
    settings = Settings(
        store=tmp_path, data=tmp_path, train_hosts=("a", "b", "c"), val_hosts=("d",)
    )
    return LabSides(Workspace(settings), tmp_path)


def test_each_host_to_choose_on_is_left_out_once_and_no_test_host_is_in_any_fold(sides):
    hosts = np.array([h for h in sides.hosts for _ in range(4)])
    reference = {
        hosts[test][0]: set(hosts[train])
        for train, test in LeaveOneGroupOut().split(hosts, groups=hosts)
    }

    for host in sides.hosts:
        index = sides.without(host).index
        of = {
            str(side): set(index.filter(side=str(side))["host_id"])
            for side in (Side.TRAIN, Side.VAL, Side.TEST)
        }
        assert of["test"] == {host}
        assert len(of["val"]) == 1
        assert of["train"] | of["val"] == reference[host]
        assert not of["train"] & of["val"]
    assert set(sides.own().index.filter(side="test")["host_id"]) == {"e", "f"}


def test_an_arrangement_of_more_episodes_is_another(sides, monkeypatch):
    whole = sides.without("a").name
    monkeypatch.setattr(LabSides, "episodes", sides.episodes.filter(pl.col("episode_id") != "eb0"))

    assert sides.without("a").name != whole


def test_standings_pool_the_windows_of_all_hosts(runs):
    rows = {row["name"]: row for row in standings(runs)}

    for name, row in rows.items():
        by_seed = [pooled(runs, name, seed) for seed in range(2)]
        wanted = [f1_score(r["y_true"], r["alive"], average="macro") for r in by_seed]
        assert row["macro_f1"] == pytest.approx(np.mean(wanted), abs=1e-4)
        assert row["n_windows"] == 120
        assert set(row["by_host"]) == {"h1", "h2"}
        assert counts(by_seed).sum() == 240


def test_an_ensemble_is_the_mean_of_its_parts(runs):
    made = ensemble(runs, ("gbt_history", "bins"), "both")

    found = made["both", "h1", 1]
    mean = (runs["gbt_history", "h1", 1]["proba"] + runs["bins", "h1", 1]["proba"]) / 2
    assert found["proba"] == pytest.approx(mean)
    assert (found["alive"] == mean.argmax(axis=1)).all()


def test_a_contestant_is_not_different_from_itself(runs):
    rows = pairs(
        {**runs, **{("twin", *key[1:]): r for key, r in runs.items() if key[0] == "bins"}},
        "bins",
        ["twin", "gbt_history"],
    )

    twin = next(row for row in rows if row["second"] == "twin")
    assert twin["difference"] == 0
    assert twin["p_holm"] == 1


def test_log_bins_are_means_of_the_known_steps():
    X = np.full((1, 2, 100), np.nan, dtype=np.float32)
    X[0, 0] = np.arange(100)
    X[0, 1, :30] = 4.0

    bins = log_bins(X).reshape(2, 5)

    assert bins[0].tolist() == [9.5, 29.5, 49.5, 69.5, 89.5]
    assert bins[1, :2].tolist() == [4.0, 4.0]
    assert np.isnan(bins[1, 2:]).all()


def test_a_narrow_contestant_sees_its_columns_alone(tmp_path, kept):
    class Other(Toy):
        """The same windows, but for what one column of each channel holds."""

        def __init__(self, name, column):
            super().__init__(name, None, None, tmp_path)
            object.__setattr__(self, "column", column)

        def sides(self, kind):
            found = super().sides(kind)
            for windows in (found.train, found.val, found.test):
                place = CALIBRATED["history"].index(self.column)
                windows.X[:, place :: len(CALIBRATED["history"])] = 0.0
            return found

    narrow = Contestant(of="gbt", kind="history", config={"max_rounds": 2}, columns=("lag_10s",))
    as_made = narrow.run(kept, Toy("h1", None, None, tmp_path), 0)["proba"]

    assert (narrow.run(kept, Other("h2", "bin_1"), 0)["proba"] == as_made).all()
    assert (narrow.run(kept, Other("h3", "lag_10s"), 0)["proba"] != as_made).any()


def test_the_ablation_tells_units_bins_lags_and_channel_dropout_apart():
    rows = contestants.ablation({})

    assert rows["bins, log units"].kind == "tensor"
    assert rows["bins, linear units"].columns == rows["bins, log units"].columns
    both = {*rows["statistics"].columns, *rows["bins and lags"].columns}
    assert both == set(rows["all"].columns)
    assert rows["all, channel dropout"].config == {"channel_dropout": 0.25}
    assert contestants.ablation({"channel_dropout": 0.25})["all, no channel dropout"].config == {
        "channel_dropout": 0.0
    }


def test_the_page_is_made_of_the_results(runs):
    section = {"standings": standings(runs), "pairs": pairs(runs, "bins", ["log", "gbt_history"])}
    result = {
        "date": "2026-01-01",
        "machine": {"processor": "p", "cores": 2},
        "versions": {"numpy": "2"},
        "hosts": ["h1", "h2"],
        "seeds": 2,
        "contest": section,
        "ablation": section,
    }

    text = page.page(json.loads(json.dumps(result)))

    for row in section["standings"]:
        assert f"| `{row['name']}` | {row['macro_f1']:.3f}" in text
    assert "Not opened in this run." in text

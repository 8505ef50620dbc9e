"""The pieces of `make bench-models` on toy data, so that the benchmark cannot rot unseen."""

import json

import numpy as np
import pytest

from benchmarks import model_speed, models, models_page, models_show, models_tables, public_sets
from benchmarks.contest import Arrangement, counts, run, score
from benchmarks.host_sides import Sides, cut, seen_hosts, simulated, unseen_host, without
from benchmarks.kept import Kept
from benchmarks.model_peers import PEERS
from benchmarks.unseen_hosts import Bench, pairs, seen_and_unseen, source_dropout, standings
from cis490_pipeline.domain import Side, Variant
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.models.spec import input_spec
from cis490_pipeline.simulation.store import SimulationConfig
from cis490_pipeline_tests.models.made_up import make_windows

HOSTS = ("sim-alder", "sim-birch", "sim-cedar", "sim-dogwood", "sim-elm")
QUICK = {"gbt": {"max_rounds": 2}} | {
    name: {"max_epochs": 1} for name in ("mlp", "cnn", "gru", "lstm", "transformer")
}
WITHOUT_AEON = ("extra_trees", "xgboost")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    return simulated(folder, SimulationConfig(episodes=25, seed=5, hosts=HOSTS))


@pytest.fixture
def kept(tmp_path):
    return Kept(tmp_path / "kept", {"numpy": "1"})


class Toy(Arrangement):
    """Made-up windows instead of a store's."""

    def sides(self, kind):
        shape = input_spec(kind, self.variant).shape
        train, val, test = (make_windows(shape, 60, seed=k, shift=6.0) for k in range(3))
        return Sides(train=train, val=val, test=test, test_hosts=np.repeat("h", 60))


def toy(tmp_path, variant=Variant.REALISTIC):
    return Toy("toy", None, None, tmp_path, variant)


def test_what_is_kept_is_not_made_again(kept):
    made = []

    def make():
        made.append(1)
        return {"a": np.arange(3)}

    first = kept.get({"seed": 0}, make)
    again = kept.get({"seed": 0}, make)
    kept.get({"seed": 1}, make)

    assert len(made) == 2
    assert first["a"].tolist() == again["a"].tolist() == [0, 1, 2]


def test_pieces_of_other_versions_are_refused(kept):
    with pytest.raises(DatasetError, match="other versions of numpy"):
        Kept(kept.folder, {"numpy": "2"})


@pytest.mark.parametrize("name", WITHOUT_AEON)
def test_a_peer_learns_and_sees_unknown_readings(name, tmp_path, kept):
    found = run(kept, toy(tmp_path), name, 0)

    assert score(found) > 0.8
    assert float(found["val_macro_f1"]) > 0.8


@pytest.mark.peers
# aeon's QUANT meets numpy 2 with a tensor of torch; nothing of ours is concerned.
@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")
@pytest.mark.parametrize("name", sorted(set(PEERS) - set(WITHOUT_AEON)))
def test_a_peer_of_aeon_learns(name, tmp_path, kept):
    assert score(run(kept, toy(tmp_path), name, 0)) > 0.5


def test_a_model_is_scored_alive_and_with_each_source_dead(tmp_path, kept):
    found = run(kept, toy(tmp_path, Variant.ORACLE), "gbt", 0, {"max_rounds": 20})

    assert {key for key in found if key.startswith("dead_")} == {
        "dead_proc",
        "dead_qmp",
        "dead_guest",
        "dead_netflow",
    }
    # The first columns, which tell the phase, are of the source `proc`.
    assert score(found) > 0.8 > score(found, "dead_proc")
    assert len(found["onnx"]) > 0


def test_a_dead_source_is_unknown_and_the_others_are_untouched():
    windows = make_windows((29, 100), 10)

    dead = without(windows, slice(0, 5))

    assert np.isnan(dead.X[:, :5]).all()
    assert np.array_equal(dead.X[:, 5:], windows.X[:, 5:], equal_nan=True)
    assert not np.isnan(windows.X[:, :5]).all()


def test_an_unseen_host_is_on_the_test_side_only(workspace, tmp_path):
    index = unseen_host(workspace, "sim-birch", HOSTS)
    hosts = {side: set(index.filter(side=side)["host_id"]) for side in ("train", "val", "test")}
    sides = cut(workspace, index, tmp_path, "tensor", Variant.REALISTIC)

    assert hosts["test"] == {"sim-birch"} == set(sides.test_hosts)
    assert len(hosts["val"]) == 1
    assert hosts["train"] == set(HOSTS) - hosts["test"] - hosts["val"]


def test_every_host_is_on_every_side_of_a_fold_and_each_episode_is_tested_once(workspace):
    folds = [seen_hosts(workspace, number) for number in range(5)]
    tested = [set(fold.filter(side=Side.TEST)["episode_id"]) for fold in folds]

    for fold in folds:
        for side in ("train", "val", "test"):
            assert set(fold.filter(side=side)["host_id"]) == set(HOSTS)
    assert sum(map(len, tested)) == len(set.union(*tested)) == folds[0].height


@pytest.mark.long
def test_a_store_is_measured_from_end_to_end(workspace, kept, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.unseen_hosts.N_FOLDS", 2)
    monkeypatch.setattr("benchmarks.unseen_hosts.MODELS", ("gbt", "gru"))
    bench = Bench(workspace, kept, tmp_path, HOSTS, n_held_out=1, seeds=2, settings=QUICK)
    names = ("gbt", "gru", *WITHOUT_AEON)
    place = bench.unseen("sim-alder")
    runs = {(n, "sim-alder", seed): bench.run(place, n, seed) for n in names for seed in (0, 1)}
    result = {
        "date": "2026-01-01",
        "machine": {"processor": "P", "cores": 1, "python": "3", "load_average": [0.0]},
        "versions": {"numpy": "1"},
        "scale": {
            "episodes": 25,
            "hosts": list(HOSTS),
            "simulation_seed": 5,
            "held_out": ["sim-alder"],
            "seeds": 2,
            "oracle_hosts": 1,
        },
        "simulated": {"standings": standings(runs), "pairs": pairs(runs, ("gbt",))},
        "seen": seen_and_unseen(bench, runs),
        "dropout": source_dropout(bench, Variant.REALISTIC, ["sim-alder"], ["gbt"], 1),
    }
    monkeypatch.setattr(models, "MODELS", ("gbt",))
    result["simulated"]["standings"].append({"name": "minirocket", "macro_f1": 0.0})
    result["lines"] = [line.to_dict() for line in models.lines(result)]
    result["simulated"]["standings"].pop()

    assert [row["name"] for row in result["simulated"]["standings"]] == list(names)
    assert {row["peer"] for row in result["simulated"]["pairs"]} == set(WITHOUT_AEON)
    assert json.loads(json.dumps(result)) == result
    asked = [line["name"] for line in result["lines"]]
    assert "simulated unseen hosts, gbt − minirocket: macro F1" in asked
    assert "gru: unseen / seen hosts" in asked
    assert "gbt realistic: cost of source dropout" in asked
    page = models_page.page(result)
    assert "Not measured in this run: public, recorded, training_speed." in page
    assert "| ExtraTrees, summaries |" in page
    models_show.show(result)
    assert "Source dropout in training" in capsys.readouterr().out


def test_the_counts_of_seeds_add_up(tmp_path, kept):
    runs = [run(kept, toy(tmp_path), "extra_trees", seed) for seed in (0, 1)]

    assert counts(runs).sum() == 2 * 60
    assert len(counts(runs)) == 10


def toy_set():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    X = rng.normal(size=(60, 4, 20))
    X[np.arange(60), y] += 2
    names = np.array(["b", "a", "c"])[y]
    return public_sets.standardized("toy", X[:30], names[:30], X[30:], names[30:])


@pytest.mark.parametrize("name", public_sets.NETWORKS)
def test_networks_learn_a_public_set_through_the_same_loop(name):
    settings = dict(public_sets.SETTINGS) | {"max_epochs": 20}

    assert public_sets.network_accuracy(name, toy_set(), 0, settings) > 0.9


def test_peers_read_summaries_of_a_public_set():
    assert public_sets.peer_accuracy("extra_trees", toy_set(), 0) > 0.9


def test_a_public_set_is_standardized_by_train_alone():
    data = toy_set()

    assert data.X.mean(axis=(0, 2)) == pytest.approx(np.zeros(4), abs=1e-6)
    assert abs(data.X_test.mean(axis=(0, 2))).max() > 1e-3
    assert data.n_classes == 3


def test_moved_copies_keep_the_test_side_and_repeat_ends():
    data = toy_set()

    moved = public_sets.moved(data, most=2)

    assert moved.X.shape == (5 * 30, 4, 20)
    by_step = moved.X.reshape(5, 30, 4, 20)
    np.testing.assert_array_equal(by_step[2], data.X)
    np.testing.assert_array_equal(by_step[0, :, :, 2:], data.X[:, :, :-2])
    np.testing.assert_array_equal(by_step[4, :, :, -2:], data.X[:, :, [-1, -1]])
    assert (moved.y.reshape(5, 30) == data.y).all()
    assert moved.X_test is data.X_test


def test_series_of_unequal_length_are_resampled_from_end_to_end():
    found = public_sets.resampled([np.array([[0.0, 1.0]]), np.arange(7.0)[None]])

    assert found.shape == (2, 1, public_sets.RESAMPLED_STEPS)
    np.testing.assert_allclose(found[1, 0], 6 * found[0, 0])


@pytest.mark.parametrize("name", ["mlp", "transformer"])
def test_training_speed_compares_two_loops(name):
    shape = input_spec(models.input_kind(name), Variant.REALISTIC).shape

    found = model_speed.training_speed(name, make_windows(shape, 100), epochs=1, repetitions=1)

    assert found["share"] > 0
    assert found["ours_windows_per_s"] > 0


def test_latency_is_of_one_window(tmp_path, kept):
    onnx = run(kept, toy(tmp_path), "gbt", 0, {"max_rounds": 2})["onnx"].tobytes()
    windows = make_windows(input_spec("summary", Variant.REALISTIC).shape, 20)

    found = model_speed.latency("gbt", "realistic", onnx, windows, calls=50)

    assert 0 < found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"]


def test_a_single_seed_says_so():
    assert models_tables.mean_and_interval([0.5]) == "0.500 (one seed)"
    assert models_tables.mean_and_interval([0.5, 0.5, 0.5]) == "0.500 [0.500, 0.500]"

"""The probes of a recipe: which windows, learnt from what, and from train alone."""

from collections import Counter

import numpy as np
import polars as pl
import pytest

from cis490_pipeline.domain import Recipe, Side
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.evaluation.probes.learn import (
    GAUGES_HISTORY,
    MAJORITY,
    POSITION,
    PROBES,
)
from cis490_pipeline.experiment.pipeline import probes as module
from cis490_pipeline.experiment.pipeline.corpus import GridShards
from cis490_pipeline.experiment.pipeline.dataset import FeatureShards, TensorShards
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.experiment.pipeline.host_identity import host_identity
from cis490_pipeline.experiment.pipeline.probes import RecipeProbes
from cis490_pipeline.features.calibration.drifting_gauges import DRIFTING
from cis490_pipeline.features.columns import calibrated_names
from cis490_pipeline.features.datasets import opened as opened_module
from cis490_pipeline.features.datasets.load import load_windows
from cis490_pipeline.features.datasets.manifest import file_digests, read_manifest_file
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.summary import summary_names
from cis490_pipeline_tests.experiment.runs import FAST, copy_of

HOST = Recipe.HOST
WINDOW = ["episode_id", "window_idx", "side", "y_true"]


@pytest.fixture(scope="module")
def said(finished):
    return RecipeProbes(finished, HOST).predictions()


@pytest.fixture(scope="module")
def spoilt_test(finished, tmp_path_factory):
    """The same run, with other readings in each test episode, and some of them lost."""
    workspace = copy_of(finished, tmp_path_factory.mktemp("spoilt"))
    index = pl.read_parquet(workspace.paths.validation_index(HOST)).filter(side="test")
    grids = GridStore(GridShards(workspace).folder)
    rng = np.random.default_rng(0)
    for row in grids.frame.join(index, on="episode_id", how="semi").iter_rows(named=True):
        shard = np.load(grids.folder / row["shard"], mmap_mode="r+")
        steps = shard[row["row_start"] : row["row_start"] + row["n_steps"]]
        steps += rng.normal(size=steps.shape).astype(np.float32)
        steps[rng.random(steps.shape) < 0.2] = np.nan
        shard.flush()
    for stage in (FeatureShards(workspace, HOST), TensorShards(workspace, HOST)):
        stage.ensure(force=True)
    return workspace


def test_every_probe_is_scored_on_the_models_windows(finished, said):
    model = EvaluationReport(finished, HOST, *FAST[0]).predictions()
    wanted = model.select(WINDOW).sort(WINDOW)

    assert said[0].keys() == PROBES.keys()
    for frame in said[0].values():
        assert frame.select(WINDOW).sort(WINDOW).equals(wanted)


def test_majority_probe_says_one_phase_everywhere(said):
    assert said[0][MAJORITY].select(pl.selectors.starts_with("p_")).unique().height == 1


@pytest.mark.long
def test_probes_are_the_same_each_time(finished, said):
    frames, text = RecipeProbes(finished, HOST).predictions()

    assert text == said[1]
    assert all(frame.equals(said[0][name]) for name, frame in frames.items())


def test_other_test_readings_change_nothing_that_was_learnt(said, spoilt_test):
    frames, text = RecipeProbes(spoilt_test, HOST).predictions()

    val, test = pl.col("side") == Side.VAL, pl.col("side") == Side.TEST
    assert text == said[1]
    for name, frame in frames.items():
        assert frame.filter(val).equals(said[0][name].filter(val)), name
        changed = not frame.filter(test).equals(said[0][name].filter(test))
        assert changed == (name not in (MAJORITY, POSITION)), name


@pytest.mark.long
def test_a_run_of_the_probes_hashes_manifest_and_files_of_a_dataset_once(finished, monkeypatch):
    hashed, read = Counter(), Counter()

    def counted(folder, names):
        names = set(names)
        hashed.update((folder, name) for name in names)
        return file_digests(folder, names)

    def counted_manifest(folder, kind):
        read[folder] += 1
        return read_manifest_file(folder, kind)

    monkeypatch.setattr(opened_module, "file_digests", counted)
    monkeypatch.setattr(opened_module, "read_manifest_file", counted_manifest)
    opened_module._verified.cache_clear()

    probes = RecipeProbes(finished, HOST)
    probes.predictions()
    host_identity(RecipeProbes(finished, HOST))

    datasets = (probes.summaries, probes.tensors)
    assert read == {dataset.folder: 1 for dataset in datasets}
    assert hashed == {(d.folder, name): 1 for d in datasets for name in d.manifest.files}


def test_probes_learn_from_trees_of_the_models_own_calibration(finished):
    probes = RecipeProbes(finished, HOST)
    checkpoint = EvaluationReport(finished, HOST, *FAST[0]).checkpoint.load()

    assert probes.calibrator.digest == checkpoint.calibrator.digest
    X = np.concatenate(list(probes.calibrated(Side.TEST)))
    windows = load_windows(probes.summaries, Side.TEST, checkpoint.calibrator)
    np.testing.assert_array_equal(X, windows.take(np.arange(len(windows))))


def test_the_gauges_history_is_that_of_the_gauges_and_says_which_forest_it_is(finished, said):
    probes = RecipeProbes(finished, HOST)
    gauges = np.concatenate(list(probes._gauges_history(Side.TEST)))
    every = np.concatenate(list(probes.calibrated(Side.TEST, "history")))
    names = calibrated_names("history", module.VARIANT)
    details = {row["model"]: row["detail"] for row in said[1]["rows"]}

    chosen = [name.split(":")[0] in DRIFTING for name in names]
    np.testing.assert_array_equal(gauges, every[:, chosen])
    assert gauges.shape[1] == 5 * (5 + 5 + 2 + 2)
    assert "by macro F1 on validation" in details[GAUGES_HISTORY]


def test_summaries_of_other_windows_than_the_tensors_are_refused(finished):
    probes = RecipeProbes(finished, HOST)
    probes.scored = probes.scored.reverse()

    with pytest.raises(DatasetError, match="hold other windows of test"):
        next(probes.calibrated(Side.TEST))


def test_observed_holds_shares_and_no_values(finished):
    probes = RecipeProbes(finished, HOST)
    shares = np.concatenate(list(probes.observed(Side.TEST, zeros=False)))
    both = np.concatenate(list(probes.observed(Side.TEST, zeros=True)))

    assert shares.shape == (probes.scored.filter(split="test").height, 29)
    assert both.shape == (len(shares), 58)
    np.testing.assert_array_equal(both[:, :29], shares)
    assert ((shares >= 0) & (shares <= 1)).all()
    # A window of which nothing was recorded of a channel has no share of zeros either.
    assert np.array_equal(np.isnan(both[:, 29:]), shares == 0)


def test_a_larger_train_side_is_drawn_by_the_seed(finished, monkeypatch):
    monkeypatch.setattr(module, "MAX_TRAIN_EPISODES", 6)
    monkeypatch.setattr(module, "MAX_TRAIN_WINDOWS", 30)
    probes = RecipeProbes(finished, HOST)

    X = np.concatenate(list(probes.calibrated(Side.TRAIN)))
    assert len(X) == probes.train.height == 30
    assert probes.train["episode_id"].n_unique() <= 6 == len(probes.drawn_episodes)
    again = RecipeProbes(finished, HOST)
    assert again.train.equals(probes.train)
    np.testing.assert_array_equal(X, np.concatenate(list(again.calibrated(Side.TRAIN))))
    training = again._training({})
    assert training["n_train_windows"] == 30 < training["n_train_windows_in_all"]


def test_drifting_gauges_are_five_of_the_realistic_channels():
    drifting = {name for name in summary_names(module.VARIANT) if name.split(":")[0] in DRIFTING}

    assert len(drifting) == 5 * 5


def test_hosts_are_told_from_clean_windows_before_and_after_calibration(finished):
    probes = RecipeProbes(finished, HOST)
    found = host_identity(probes)

    sides = [probes.all_train, probes.scored]
    clean = pl.concat(sides).filter(pl.col("phase") == "clean", pl.col("scorable"))
    assert found["n_windows"] == clean.height
    assert found["n_hosts"] == clean["host_id"].n_unique() == 4
    largest = clean["host_id"].value_counts().sort("count")[-1]
    assert found["largest_host"] == {
        "host_id": largest["host_id"][0],
        "share": largest["count"][0] / clean.height,
    }
    assert [row["features"] for row in found["rows"]] == [
        "before calibration",
        "after calibration",
    ]
    for row in found["rows"]:
        assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
        assert row["balanced_low"] <= row["balanced_accuracy"] <= row["balanced_high"]
    # What four devices look like at rest differs; no calibration by a median hides that.
    assert found["rows"][0]["accuracy"] > found["largest_host"]["share"]


@pytest.mark.long
def test_host_identity_is_drawn_where_there_is_more(finished, monkeypatch):
    from cis490_pipeline.experiment.pipeline import host_identity as module_

    monkeypatch.setattr(module_, "MAX_EPISODES", 30)
    monkeypatch.setattr(module_, "MAX_WINDOWS", 50)

    one, other = (host_identity(RecipeProbes(finished, HOST)) for _ in range(2))

    assert one == other
    assert one["n_windows"] <= 50
    assert one["n_episodes"] <= 30 < one["n_episodes_in_all"]


def test_a_single_host_cannot_be_told_and_the_board_says_so(finished, tmp_path):
    workspace = copy_of(finished, tmp_path)
    path = workspace.paths.validation_index(HOST)
    pl.read_parquet(path).with_columns(host_id=pl.lit("lab-nuc")).write_parquet(path)
    FeatureShards(workspace, HOST).ensure(force=True)
    TensorShards(workspace, HOST).ensure(force=True)

    found = host_identity(RecipeProbes(workspace, HOST))

    assert found["rows"] == []
    assert found["why"] == "clean windows of 1 host, two are needed"
    assert found["largest_host"]["share"] == 1.0

"""Models under recording faults: the same path without them, and exactly nothing where unseen."""

import numpy as np
import pytest

from cis490_pipeline.domain import Recipe, Side
from cis490_pipeline.evaluation.predictions import probabilities
from cis490_pipeline.experiment.leaderboard import Leaderboard
from cis490_pipeline.experiment.pipeline import robustness as module
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.experiment.pipeline.robustness import Robustness
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.datasets.window_data import ArrayWindows
from cis490_pipeline.features.stress.perturbations import SCENARIOS, UNPERTURBED
from cis490_pipeline.features.stress.recut import recut
from cis490_pipeline.models.registry import restore
from cis490_pipeline.storage.files import read_json
from cis490_pipeline_tests.experiment.runs import FAST, SIX, copy_of, copy_store

HOST = Recipe.HOST
UNSEEN = ("qmp_gap", "qmp_dead", "skew_proc", "skew_qmp")
"""Faults of what a device outside the lab does not have."""


@pytest.fixture(scope="module")
def found(with_tables):
    return read_json(with_tables.paths.robustness(HOST))


def of(found, scenario, variant):
    return [
        row
        for row in found["rows"]
        if row["scenario"] == scenario and row["model"].endswith(variant)
    ]


@pytest.mark.parametrize("side", [Side.VAL, Side.TEST])
def test_episodes_cut_again_without_a_fault_give_the_stored_predictions_to_the_bit(
    with_tables, monkeypatch, side
):
    monkeypatch.setattr(Robustness, "side", side)
    stage = Robustness(with_tables, HOST)
    (chunk,) = stage._chunks(stage._drawn()[0], {})
    cut = recut(chunk.episodes, chunk.numbers, UNPERTURBED, seed=0)

    for architecture, variant in FAST:
        report = EvaluationReport(with_tables, HOST, architecture, variant)
        checkpoint = report.checkpoint.load()
        X = cut.calibrated(checkpoint.calibrator)
        said = restore(checkpoint).predict_windows(ArrayWindows(X, chunk.y, chunk.ids))
        stored = report.predictions().filter(side=side)
        assert stored["episode_id"].to_list() == chunk.ids.tolist()
        np.testing.assert_array_equal(said, probabilities(stored))


def test_every_model_is_scored_under_every_scenario(found):
    rows = {(row["model"], row["scenario"]) for row in found["rows"]}
    names = [f"{architecture}_{variant}" for architecture, variant in FAST]

    assert rows == {(name, scenario.name) for name in names for scenario in SCENARIOS}
    assert len(found["rows"]) == len(rows)


def test_unperturbed_score_is_the_reports(with_tables, found):
    for row in found["rows"]:
        report = read_json(with_tables.paths.report_json(HOST, row["model"]))
        assert row["macro_f1_unperturbed"] == report["macro_f1"]
        assert (row["n_episodes"], row["n_windows"]) == (report["n_episodes"], report["n_windows"])


@pytest.mark.parametrize("scenario", UNSEEN)
def test_what_a_realistic_model_does_not_see_costs_it_exactly_nothing(found, scenario):
    for row in of(found, scenario, "realistic"):
        assert (row["difference"], row["ci_low"], row["ci_high"]) == (0.0, 0.0, 0.0)
        assert row["n_windows_changed"] == 0


def test_a_dead_qmp_changes_what_an_oracle_model_says(found):
    assert all(row["n_windows_changed"] > 0 for row in of(found, "qmp_dead", "oracle"))


def test_a_dead_guest_and_an_infected_baseline_cost_the_trees_dearly(found):
    for scenario in ("guest_dies", "infected_baseline"):
        (row,) = (r for r in of(found, scenario, "realistic") if r["model"] == "gbt_realistic")
        assert row["difference"] <= row["ci_high"] < 0
        assert row["ci_low"] <= row["difference"]


def test_scenarios_say_how_many_episodes_they_changed(found):
    n = {scenario["name"]: scenario["n_episodes_changed"] for scenario in found["scenarios"]}

    assert n.keys() == {scenario.name for scenario in SCENARIOS}
    # Clean runs have no infection in which an agent could die.
    assert 0 < n["guest_dies"] < found["n_episodes"]
    assert n["rows_lost"] == found["n_episodes"] == found["n_episodes_in_all"]


def test_nothing_is_made_twice_and_the_same_again(with_tables, found, tmp_path):
    workspace = copy_of(with_tables, tmp_path)
    stage = Robustness(workspace, HOST)

    assert stage.ensure().why == "up to date"
    stage.ensure(force=True)
    assert read_json(workspace.paths.robustness(HOST)) == found


def test_a_table_that_is_out_of_date_is_left_out_of_the_board(with_tables, monkeypatch):
    stage = Leaderboard(with_tables, HOST)
    assert stage.outdated() is None

    monkeypatch.setattr(module, "ROBUSTNESS_VERSION", "another")

    assert stage.outdated() == "changed: robustness"
    assert "robustness" not in stage.inputs()
    assert stage.robustness.table({"gbt_realistic"}) is None


@pytest.mark.long
def test_in_small_chunks_it_is_the_same(with_tables, found, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_WINDOWS", 60)
    workspace = copy_of(with_tables, tmp_path)

    Robustness(workspace, HOST).ensure(force=True)

    assert read_json(workspace.paths.robustness(HOST)) == found


def test_of_many_episodes_some_are_drawn(with_tables, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_EPISODES", 5)
    workspace = copy_of(with_tables, tmp_path)

    Robustness(workspace, HOST).ensure(force=True)

    drawn = read_json(workspace.paths.robustness(HOST))
    assert drawn["n_episodes"] == 5 < drawn["n_episodes_in_all"]
    assert {row["n_episodes"] for row in drawn["rows"]} == {5}


def test_episodes_the_store_has_no_more_are_named_and_left_out(with_tables, tmp_path):
    store = copy_store(tmp_path / "store", SIX)
    copied = copy_of(with_tables, tmp_path)
    settings = copied.settings.__class__(store=store.root, data=copied.settings.data, workers=1)
    workspace = Workspace(settings)

    Robustness(workspace, HOST).ensure(force=True)

    left = read_json(workspace.paths.robustness(HOST))
    whole = read_json(with_tables.paths.robustness(HOST))
    assert left["n_episodes"] + len(left["left_out"]) == whole["n_episodes"]
    assert 1 <= left["n_episodes"] < len(SIX)
    assert all("missing_member" in why for why in left["left_out"].values())


def test_without_any_episode_there_are_no_rows_and_it_says_why(with_tables, tmp_path):
    (tmp_path / "store").mkdir()
    copied = copy_of(with_tables, tmp_path)
    settings = copied.settings.__class__(
        store=tmp_path / "store", data=copied.settings.data, workers=1
    )

    Robustness(Workspace(settings), HOST).ensure(force=True)

    result = read_json(copied.paths.robustness(HOST))
    assert (result["rows"], result["n_episodes"]) == ([], 0)
    assert result["why"] == "no test episode could be read from the store"

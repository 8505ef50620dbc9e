"""All ways of calibration, side by side."""

import polars as pl
import pytest

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Recipe, Side
from cis490_pipeline.experiment.leaderboard import Leaderboard
from cis490_pipeline.experiment.order import corpus_stages, dataset_stages
from cis490_pipeline.experiment.pipeline import ablation
from cis490_pipeline.experiment.pipeline.ablation import (
    ROUNDS,
    TREATMENTS,
    CalibrationAblation,
    _draw,
)
from cis490_pipeline.experiment.pipeline.training import CALIBRATION, GAUGES, SCALING
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.calibration.calibrator import CalibrationMode, Scaling
from cis490_pipeline.storage.files import read_json
from cis490_pipeline_tests.experiment.runs import SAMPLE, copy_of

HOST = Recipe.HOST


@pytest.fixture(scope="module")
def board(with_tables):
    return read_json(with_tables.paths.leaderboard(HOST))


def test_every_mode_is_there_with_every_treatment(board):
    found = [(row["mode"], row["gauges"], row["scaling"]) for row in board["ablation"]]

    assert {(m, g) for m, g, _ in found} == {(m, g) for m in CalibrationMode for g in TREATMENTS}
    assert len(set(found)) == len(found) == 11
    assert [row["mode"] for row in board["ablation"] if row["scaling"] == Scaling.DEVICE] == [
        "episode_baseline",
        "host_baseline",
    ]
    used = [setting for setting, row in zip(found, board["ablation"], strict=True) if row["in_use"]]
    assert used == [(CALIBRATION, GAUGES, SCALING)]


def test_all_rows_are_on_the_same_windows_without_those_that_calibrate(with_tables, board):
    taken = board["ablation_of"]["calibration_episodes"]
    index = pl.read_parquet(with_tables.paths.validation_index(HOST))
    on_test = index.filter(pl.col("episode_id").is_in(taken), side="test").height

    model = next(row for row in board["rows"] if row["model"] == "gbt_realistic")
    for row in board["ablation"]:
        assert row["test"]["n_episodes"] == model["n_episodes"] - on_test
    assert (
        len({(row["test"]["n_windows"], row["val"]["n_windows"]) for row in board["ablation"]}) == 1
    )


def test_a_row_has_its_interval_and_its_difference_from_the_one_in_use(board):
    for row in board["ablation"]:
        for side in ("val", "test"):
            assert row[side]["ci_low"] <= row[side]["macro_f1"] <= row[side]["ci_high"]
        if row["in_use"]:
            assert row["against_used"] is None
        else:
            used = next(other for other in board["ablation"] if other["in_use"])
            difference = row["test"]["macro_f1"] - used["test"]["macro_f1"]
            assert row["against_used"]["difference"] == pytest.approx(difference)


def test_the_page_shows_every_row(with_tables, board):
    page = with_tables.paths.report_html(HOST).read_text()

    assert "Ways of calibration" in page
    for row in board["ablation"]:
        assert f"{row['test']['macro_f1']:.3f}" in page


def test_it_is_made_once(with_tables):
    assert CalibrationAblation(with_tables, HOST).outdated() is None
    assert CalibrationAblation(with_tables, HOST).record_path.parent.name == "host"


@pytest.mark.long
def test_an_edited_table_is_made_good(with_tables, tmp_path, monkeypatch):
    workspace = copy_of(with_tables, tmp_path)
    monkeypatch.setitem(ROUNDS, "max_rounds", 3)
    stage = CalibrationAblation(workspace, HOST)
    stage.ensure()
    path = workspace.paths.ablation(HOST)
    before = path.read_bytes()
    path.write_bytes(before + b" ")

    outcome = stage.ensure()

    assert outcome.made
    assert path.read_bytes() == before


def test_of_each_side_so_many_episodes_are_drawn_whatever_order_they_came_in(monkeypatch):
    monkeypatch.setattr(ablation, "MAX_EPISODES", 3)
    ids = {Side.TRAIN: "abcdefgh", Side.VAL: "ijk", Side.TEST: "lmnopq"}
    rows = [(i, str(s)) for s in ids for i in ids[s] * 2]
    windows = pl.DataFrame(rows, ("episode_id", "split"), orient="row")

    draws = [
        _draw({side: pl.Series(list(of)[::step]) for side, of in ids.items()}) for step in (1, -1)
    ]
    kept = [windows.filter(only) for only, _ in draws]

    assert kept[0].equals(kept[1])
    assert kept[0].group_by("split", maintain_order=True).len().rows() == [
        ("train", 6),
        ("val", 6),
        ("test", 6),
    ]
    assert set(kept[0].filter(split="val")["episode_id"]) == set("ijk")
    assert draws[0][1] == {
        "train": {"n_episodes": 3, "n_episodes_in_all": 8},
        "test": {"n_episodes": 3, "n_episodes_in_all": 6},
    }


def test_the_same_of_a_corpus_that_grew_is_mostly_drawn_again(monkeypatch):
    monkeypatch.setattr(ablation, "MAX_EPISODES", 100)
    ids = pl.DataFrame({"episode_id": [f"{n:03}" for n in range(220)], "split": "test"})

    before, after = (
        set(ids.filter(_draw({Side.TEST: ids["episode_id"][:n]})[0])["episode_id"])
        for n in (200, 220)
    )

    assert len(before) == len(after) == 100
    assert len(before & after) >= 80


@pytest.mark.long
def test_what_was_drawn_is_recorded_and_said(with_tables, tmp_path, monkeypatch):
    workspace = copy_of(with_tables, tmp_path)
    monkeypatch.setitem(ROUNDS, "max_rounds", 3)
    stage = CalibrationAblation(workspace, HOST)
    assert "scored" not in stage.inputs()
    monkeypatch.setattr(ablation, "MAX_EPISODES", 8)
    assert stage.inputs()["scored"] == "at most 8 episodes of a side"

    make_stages((stage, Leaderboard(workspace, HOST)))

    result = read_json(workspace.paths.ablation(HOST))
    assert {row["test"]["n_episodes"] for row in result["rows"]} == {8}
    assert result["drawn"]["test"]["n_episodes_in_all"] > 8
    page = workspace.paths.report_html(HOST).read_text()
    assert f"8 of {result['drawn']['test']['n_episodes_in_all']}" in page


def test_hosts_that_cannot_be_calibrated_are_named_and_their_windows_left_out_for_all(
    with_tables, tmp_path, monkeypatch
):
    workspace = copy_of(with_tables, tmp_path)
    lose_clean_runs(workspace, ["lab-nuc"])
    monkeypatch.setitem(ROUNDS, "max_rounds", 3)

    CalibrationAblation(workspace, HOST).ensure()

    result = read_json(workspace.paths.ablation(HOST))
    assert list(result["hosts_refused"]) == ["lab-nuc"]
    assert "lab-nuc has no sound clean-only episode" in result["hosts_refused"]["lab-nuc"]
    assert len({row["test"]["n_windows"] for row in result["rows"]}) == 1
    whole = read_json(with_tables.paths.ablation(HOST))["rows"][0]["test"]["n_windows"]
    assert result["rows"][0]["test"]["n_windows"] < whole


def test_without_a_calibrated_train_host_the_other_modes_are_still_compared(
    with_tables, tmp_path, monkeypatch
):
    workspace = copy_of(with_tables, tmp_path)
    lose_clean_runs(workspace, ["elliott-thinkpad"])
    monkeypatch.setitem(ROUNDS, "max_rounds", 3)

    CalibrationAblation(workspace, HOST).ensure()

    rows = read_json(workspace.paths.ablation(HOST))["rows"]
    missing = [row["mode"] for row in rows if row["why_missing"] is not None]
    assert missing == ["host_baseline"] * (len(TREATMENTS) + 1)
    assert all(
        "leave no window on train, val" in row["why_missing"] for row in rows if row["why_missing"]
    )
    assert all(row["test"] is None for row in rows if row["why_missing"])


def lose_clean_runs(workspace, hosts):
    """Give the clean-only episodes of some hosts a profile in the index."""
    path = workspace.paths.validation_index(HOST)
    index = pl.read_parquet(path)
    lost = pl.col("host_id").is_in(hosts) & pl.col("profile").is_null()
    index.with_columns(
        profile=pl.when(lost).then(pl.lit("flood")).otherwise("profile")
    ).write_parquet(path)


def test_it_says_what_is_missing_before_there_is_a_dataset(tmp_path):
    workspace = Workspace(Settings(store=SAMPLE, data=tmp_path / "data", workers=1))

    assert CalibrationAblation(workspace, HOST).outdated() == "an input does not exist yet"
    for stage in (*corpus_stages(workspace), *dataset_stages(workspace, HOST)):
        stage.ensure()
    assert CalibrationAblation(workspace, HOST).outdated() == "never made"

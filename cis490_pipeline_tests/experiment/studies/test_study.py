"""Profiles, hosts and times left out, on the recorded corpus with few trees."""

from dataclasses import replace

import polars as pl
import pytest

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Architecture, Recipe, Variant
from cis490_pipeline.errors import TrainingError
from cis490_pipeline.evaluation.predictions import matrices_of
from cis490_pipeline.evaluation.uncertainty.intervals import episode_interval
from cis490_pipeline.experiment.leaderboard import Leaderboard
from cis490_pipeline.experiment.pipeline.corpus import corpus_stages
from cis490_pipeline.experiment.pipeline.dataset import ValidationIndex
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.studies.all_windows import pool_episodes
from cis490_pipeline.experiment.studies.drawing import ids_of
from cis490_pipeline.experiment.studies.hosts import cross_host
from cis490_pipeline.experiment.studies.runs import StudyRuns
from cis490_pipeline.experiment.studies.study import (
    Asked,
    Section,
    Study,
    carried_study,
    default_models,
)
from cis490_pipeline.models.trees.gbt import Gbt
from cis490_pipeline.storage.files import read_json, write_json
from cis490_pipeline_tests.experiment.runs import SAMPLE, copy_of

HOST = Recipe.HOST
GBT = ((Architecture.GBT, Variant.REALISTIC),)
NAME = "gbt_realistic"
FEW = {"gbt": {"max_rounds": 4, "eta": 0.3}}
PROFILES = ["cpu-saturate", "exfil-burst", "flood", "io-walk", "low-and-slow", "scan-and-dial"]


def made(workspace, *sections):
    """Make a study; what it says, and how much was trained."""
    asked = Asked(models=GBT, sections=sections or tuple(Section))
    Study(workspace, HOST, asked).ensure()
    return read_json(workspace.paths.study(HOST)), asked.tally


@pytest.fixture(scope="module")
def studied(finished, tmp_path_factory):
    """A workspace with a whole study, only to be read, and all that was trained on for it."""
    copy = copy_of(finished, tmp_path_factory.mktemp("studied"))
    workspace = Workspace(replace(copy.settings, models=FEW))
    seen, fit = [], Gbt._fit

    def noted(self, train, val, *rest):
        seen.append((frozenset(train.episode_ids), frozenset(val.episode_ids)))
        return fit(self, train, val, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gbt, "_fit", noted)
        made(workspace)
    return workspace, seen


@pytest.fixture(scope="module")
def study(studied):
    return read_json(studied[0].paths.study(HOST))


@pytest.fixture
def again(studied, tmp_path):
    """The same, to be changed."""
    return Workspace(replace(copy_of(studied[0], tmp_path).settings, models=FEW))


@pytest.fixture(scope="module")
def index(finished):
    return pl.read_parquet(finished.paths.validation_index(HOST))


# --- leave one profile out


@pytest.mark.long
def test_each_profile_is_left_out_of_train_and_val_once(studied, index):
    _, seen = studied
    profile_of = dict(index.select("episode_id", "profile").iter_rows())
    by_side = {side: set(index.filter(side=side)["episode_id"]) for side in ("train", "val")}
    on_recipe = [pair for pair in seen if pair[0] <= by_side["train"] and pair[1] <= by_side["val"]]

    lacking = {
        profile
        for train, val in on_recipe
        for profile in PROFILES
        if profile not in {profile_of[name] for name in train | val}
    }

    assert lacking == set(PROFILES)


@pytest.mark.long
def test_every_profile_is_looked_for_on_unseen_and_on_same_hosts(study, index):
    rows = study["models"][NAME]["profiles"]["rows"]

    assert [(row["profile"], row["scope"]) for row in rows] == [
        (profile, scope) for profile in PROFILES for scope in ("test side", "train and val sides")
    ]
    for row in rows:
        sides = ["test"] if row["scope"] == "test side" else ["train", "val"]
        of_it = index.filter(pl.col("side").is_in(sides), "scorable", profile=row["profile"])
        assert row["hosts"] == sorted(set(of_it["host_id"]))
        assert row["alarm"]["n_episodes"] == of_it.height
        assert row["alarm"]["new"]["n"] <= row["alarm"]["any"]["n"] <= of_it.height


def test_areas_have_intervals_and_counts(study):
    for row in study["models"][NAME]["profiles"]["rows"]:
        assert set(row["auroc"]) == {"max_softmax", "energy"}
        for area in row["auroc"].values():
            assert area["ci_low"] <= area["auroc"] <= area["ci_high"]
            assert min(area["n_novel_episodes"], area["n_known_episodes"]) >= 4


def test_the_same_alarm_is_told_of_a_model_that_knew_the_profile(study):
    reference = study["models"][NAME]["profiles"]["reference"]

    assert [row["profile"] for row in reference] == PROFILES
    assert all(row["alarm"]["n_episodes"] >= 4 for row in reference)


# --- every host against every other


def test_there_is_a_cell_for_every_pair_of_hosts(study, index):
    section = study["models"][NAME]["hosts"]
    hosts = sorted(set(index["host_id"]))
    scorable = dict(
        index.filter("scorable", "baseline_clean").group_by("host_id").len().iter_rows()
    )

    assert section["hosts"] == hosts
    assert [(cell["trained_on"], cell["tested_on"]) for cell in section["cells"]] == [
        (a, b) for a in hosts for b in [a, *(h for h in hosts if h != a)]
    ]
    for cell in section["cells"]:
        assert cell["ci_low"] <= cell["macro_f1"] <= cell["ci_high"]
        assert cell["n_episodes"] == scorable[cell["tested_on"]]


def test_profiles_the_training_host_never_ran_are_named(study):
    cells = study["models"][NAME]["hosts"]["cells"]

    named = {(c["trained_on"], *c["untrained_profiles"]) for c in cells if c["untrained_profiles"]}
    assert named == {("k-gamingcom", "scan-and-dial"), ("lab-nuc", "exfil-burst")}


def test_a_host_that_cannot_be_trained_on_says_why(again):
    episodes, _ = pool_episodes(again)
    few = episodes.filter(
        (pl.col("host_id") == "elliott-thinkpad")
        | ((pl.col("host_id") == "garage-pi") & pl.col("profile").is_null())
    )

    cells = cross_host(StudyRuns(again, *GBT[0]), few, seed=0)["cells"]

    found = {(c["trained_on"], c["tested_on"]): c for c in cells}
    assert found["elliott-thinkpad", "garage-pi"]["macro_f1"] is not None
    for tested_on in ("elliott-thinkpad", "garage-pi"):
        cell = found["garage-pi", tested_on]
        assert (cell["macro_f1"], cell["n_windows"]) == (None, 0)
        assert cell["why"]


def test_folds_score_each_episode_of_a_host_once(again, monkeypatch):
    runs, scored = StudyRuns(again, *GBT[0]), []
    episodes, _ = pool_episodes(again)
    of_host = episodes.filter(host_id="garage-pi")
    predictions = StudyRuns.predictions

    def noted(self, arrangement):
        scored.append(arrangement)
        return predictions(self, arrangement)

    monkeypatch.setattr(StudyRuns, "predictions", noted)
    cell = cross_host(runs, of_host, seed=0)["cells"][0]

    folds = [a for a in scored if "fold" in a.name]
    assert sorted(sum((a.scored for a in folds), ())) == list(ids_of(of_host.filter("scorable")))
    frames = pl.concat([predictions(runs, a).filter(side="test") for a in folds])
    assert cell["macro_f1"] == episode_interval(matrices_of(frames).counts, seed=0).estimate


# --- later times, drift


def test_slots_are_equal_in_time_and_after_all_training(study, index):
    section = study["models"][NAME]["time"]

    edges = [slot["from"] for slot in section["slots"]]
    assert section["cut"] == edges[0]
    assert edges == sorted(edges)
    assert len(edges) == 6
    assert all(slot["n_episodes"] >= 2 for slot in section["slots"])
    assert section["ci_low"] <= section["aut"] <= section["ci_high"]
    assert section["n_train_episodes"] + section["n_val_episodes"] + section["n_episodes"] <= 64


def test_drift_has_every_channel_of_every_group_in_both_views(study):
    section = study["drift"]

    assert len(section["rows"]) == 46 * 4 * 2
    assert [(row["group"], row["n_episodes"]) for row in section["summary"][:4]] == [
        ("test side", 31),
        ("host garage-pi", 11),
        ("host k-gamingcom", 10),
        ("host lab-nuc", 10),
    ]
    for row in section["rows"]:
        assert row["flagged"] == (row["psi"] > 0.25)


# --- every host left out in turn


def test_each_host_is_scored_once_by_a_model_that_saw_none_of_it(studied, study, index):
    _, seen = studied
    host_of = dict(index.select("episode_id", "host_id").iter_rows())
    section = study["host_out"]
    scorable = dict(index.filter("scorable", "baseline_clean").group_by("host_id").len().rows())

    assert {fold["scored"]: fold["n_episodes"] for fold in section["folds"]} == scorable
    trained = [({host_of.get(n) for n in a}, {host_of.get(n) for n in b}) for a, b in seen]
    for fold in section["folds"]:
        assert (set(fold["train"]), {fold["val"]}) in trained
    (row,) = section["rows"]
    assert row["n_episodes"] == sum(scorable.values())
    assert {h["host_id"]: h["n_episodes"] for h in row["per_host"]} == scorable
    assert row["ci_low"] <= row["macro_f1"] <= row["ci_high"]
    assert row["over_hosts"] is None
    assert (section["pairs"], section["why"]) == ([], None)


def test_hosts_left_out_of_the_sample_open_its_test_side_and_say_so(study, index):
    tested = index.filter("scorable", side="test").group_by("host_id").len()

    assert study["host_out"]["opened_test"] == dict(tested.iter_rows())


def test_a_second_model_and_seed_train_only_what_is_new_and_are_compared(again):
    further = Workspace(replace(again.settings, models={**FEW, "mlp": {"max_epochs": 2}}))
    asked = Asked(
        models=((Architecture.MLP, Variant.REALISTIC),), sections=(Section.HOST_OUT,), seeds=2
    )
    Study(further, HOST, asked).ensure()
    section = read_json(further.paths.study(HOST))["host_out"]

    assert (asked.tally.trained, asked.tally.kept) == (8, 4)
    rows = {row["model"]: row for row in section["rows"]}
    assert set(rows) == {NAME, "mlp_realistic", "ensemble_realistic"}
    assert rows["mlp_realistic"]["seeds"]["seeds"] == [0, 1]
    assert rows["ensemble_realistic"]["parts"] == [NAME, "mlp_realistic"]
    assert [(pair["a"], pair["b"]) for pair in section["pairs"]] == [
        (NAME, "mlp_realistic"),
        ("ensemble_realistic", NAME),
        ("ensemble_realistic", "mlp_realistic"),
    ]


# --- kept, carried, stale


def test_a_second_time_nothing_is_trained(again):
    study, tally = made(again, Section.PROFILES)

    assert (tally.trained, tally.kept) == (0, 7)
    assert study["models"][NAME]["hosts"] is not None


@pytest.mark.long
def test_a_study_that_was_killed_goes_on(again, monkeypatch):
    kept = again.paths.studies / "runs"
    before = again.paths.study(HOST).read_bytes()
    for path in sorted(kept.iterdir())[:5]:
        path.unlink()
    again.paths.study(HOST).unlink()
    fit, left = Gbt._fit, [3]

    def killed(self, *args):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return fit(self, *args)

    monkeypatch.setattr(Gbt, "_fit", killed)
    with pytest.raises(KeyboardInterrupt):
        made(again)
    monkeypatch.setattr(Gbt, "_fit", fit)
    _, tally = made(again)

    assert tally.trained == 2
    assert again.paths.study(HOST).read_bytes() == before


def test_half_a_kept_file_is_made_again(again):
    path = next((again.paths.studies / "runs").iterdir())
    path.write_bytes(path.read_bytes()[:100])
    again.paths.study(HOST).unlink()

    assert made(again)[1].trained == 1


@pytest.mark.long
def test_the_leaderboard_carries_the_study_and_says_when_it_is_stale(again):
    stage = Leaderboard(again, HOST)
    stage.ensure()
    carried = read_json(again.paths.leaderboard(HOST))["study"]
    stored = read_json(again.paths.study(HOST))
    stored["of"]["split"] = "another"
    write_json(again.paths.study(HOST), stored)

    stage.ensure()

    assert carried == {**stored, "of": carried["of"], "status": "current", "why": None}
    stale = read_json(again.paths.leaderboard(HOST))["study"]
    assert stale["status"] == "stale"
    assert "made of another split; make it again: cis490 study" in stale["why"]
    assert "models" not in stale


def test_other_settings_of_a_model_make_its_study_stale(studied):
    workspace, _ = studied
    rounds = replace(workspace.settings, models={"gbt": {"max_rounds": 5}})
    quarantine = replace(workspace.settings, quarantine={"guest.load_1m": "steps at shams"})

    assert carried_study(workspace, HOST)["status"] == "current"
    for other in (rounds, quarantine):
        assert "setting of gbt_realistic" in carried_study(Workspace(other), HOST)["why"]


def test_without_a_study_the_leaderboard_says_not_run(finished):
    assert read_json(finished.paths.leaderboard(HOST))["study"] is None


def test_the_model_chosen_on_validation_is_studied_if_it_is_cheap(again):
    path = again.paths.leaderboard(HOST)
    board = read_json(path)
    found = []
    for selected in ("mlp_realistic", "gru_realistic"):
        write_json(path, {**board, "selected": {"realistic": selected}})
        found.append(default_models(again, HOST, [Variant.REALISTIC]))
    path.unlink()
    found.append(default_models(again, HOST, [Variant.ORACLE]))

    assert found == [
        [(Architecture.MLP, Variant.REALISTIC)],
        [(Architecture.GBT, Variant.REALISTIC)],
        [(Architecture.GBT, Variant.ORACLE)],
    ]


def test_a_fault_of_a_training_is_a_row_with_why(again, monkeypatch):
    def refuses(self, *args):
        raise TrainingError("by hand")

    for path in (again.paths.studies / "runs").iterdir():
        path.unlink()
    monkeypatch.setattr(Gbt, "_fit", refuses)

    study, _ = made(again, Section.PROFILES, Section.TIME)

    section = study["models"][NAME]
    assert {row["why"] for row in section["profiles"]["rows"]} == {"by hand"}
    assert all(row["alarm"] is None for row in section["profiles"]["rows"])
    assert (section["time"]["aut"], section["time"]["why"]) == (None, "by hand")


@pytest.mark.long
def test_another_machine_carries_a_shared_study_and_goes_on_with_it(memory_place, tmp_path):
    def machine(name):
        settings = Settings(store=SAMPLE, data=memory_place, cache=tmp_path / name, workers=1)
        return Workspace(replace(settings, models=FEW))

    first = machine("a")
    for stage in (*corpus_stages(first), ValidationIndex(first, HOST)):
        stage.ensure()
    study, _ = made(first, Section.TIME)

    carried = carried_study(machine("b"), HOST)
    further, tally = made(machine("b"), Section.DRIFT)

    assert carried == {**study, "status": "current", "why": None}
    assert further["models"] == study["models"]
    assert further["drift"] is not None
    assert tally.trained == 0

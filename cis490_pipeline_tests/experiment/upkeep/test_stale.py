import json
import shutil

import pytest

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Architecture, Recipe, Variant
from cis490_pipeline.errors import StoreError
from cis490_pipeline.experiment.pipeline import corpus as corpus_module
from cis490_pipeline.experiment.pipeline import dataset as dataset_module
from cis490_pipeline.experiment.pipeline.corpus import corpus_stages
from cis490_pipeline.experiment.pipeline.dataset import FeatureShards, TensorShards, dataset_stages
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.upkeep import stale as module
from cis490_pipeline.experiment.upkeep.stale import make_again, survey, wanted_keys
from cis490_pipeline.experiment.upkeep.warnings import no_vanished
from cis490_pipeline.features.schema import FeatureSchema, feature_schema
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline_tests.experiment.runs import SIX, copy_store, member, repack
from cis490_pipeline_tests.orchestration.making import SAMPLE

INDEX, FEATURES, TENSORS = (
    "dataset/validation_index",
    "dataset/feature_shards",
    "dataset/tensor_shards",
)


def workspace_in(data, **settings):
    return Workspace(Settings(store=SAMPLE, data=data, workers=1, **settings))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    workspace = workspace_in(tmp_path_factory.mktemp("stale") / "data")
    for recipe in (Recipe.HOST, Recipe.TIME):
        for stage in (*corpus_stages(workspace), *dataset_stages(workspace, recipe)):
            stage.ensure()
    return workspace


@pytest.fixture
def workspace(made, tmp_path):
    shutil.copytree(made.paths.root, tmp_path / "data")
    return workspace_in(tmp_path / "data")


def stale(workspace, recipes=tuple(Recipe)):
    found = survey(workspace, recipes)
    return {(a.scope, a.key): (a.why, a.difference) for a in found if a.state == "stale"}


def with_other_summary(monkeypatch):
    real = feature_schema

    def other(kind, variant):
        schema = real(kind, variant)
        if kind != "summary":
            return schema
        return FeatureSchema(kind, variant, {**schema.meaning, "labels": ["clean", "infected"]})

    for at in (module, dataset_module):
        monkeypatch.setattr(at, "feature_schema", other)


def test_what_is_finished_is_up_to_date_and_what_was_never_made_is_not_stale(made):
    found = survey(made)

    assert {a.state for a in found if a.scope == "corpus"} == {"up to date"}
    assert {a.key for a in found if a.scope == "host" and a.state == "up to date"} == {
        INDEX,
        FEATURES,
        TENSORS,
    }
    assert {a.state for a in found if a.scope == "sample"} == {"not made"}
    assert wanted_keys(found) == set()


def test_another_summary_schema_outdates_the_features_of_each_split_and_nothing_else(
    made, monkeypatch
):
    with_other_summary(monkeypatch)

    found = stale(made)

    assert set(found) == {("host", FEATURES), ("time", FEATURES)}
    why, difference = found["host", FEATURES]
    assert why == "changed: summary_schema"
    assert difference.startswith("labels")


def test_a_change_at_the_root_reaches_all_the_way_down(made, monkeypatch):
    monkeypatch.setattr(corpus_module, "RULES_VERSION", "other")

    found = stale(made)

    assert found["corpus", "corpus/validation_sweep"][0] == "changed: rules"
    assert "is 'other'" in found["corpus", "corpus/validation_sweep"][1]
    assert found["host", INDEX] == ("after corpus/validation_sweep", None)
    assert found["time", TENSORS] == (f"after {INDEX}", None)
    assert len(found) == 8


def test_a_setting_of_one_split_leaves_the_others_alone(made):
    other = workspace_in(made.paths.root, train_hosts=("garage-pi", "lab-nuc"))

    found = stale(other)

    assert {scope for scope, _ in found} == {"host"}
    assert found["host", INDEX][0] == "changed: split_settings"


def test_a_lost_record_above_what_was_made_is_wanted_but_not_called_stale(workspace):
    (workspace.paths.root / "processed/records/corpus/corpus__grid_shards.json").unlink()

    found = {(a.scope, a.key): a for a in survey(workspace, (Recipe.HOST,))}

    assert found["corpus", "corpus/grid_shards"].state == "not made"
    assert found["corpus", "corpus/grid_shards"].wanted
    assert found["host", INDEX].why == "an input does not exist yet"


def test_what_is_stale_is_made_again_and_nothing_else(workspace, monkeypatch):
    path = min(FeatureShards(workspace, Recipe.HOST).folder.glob("train-*.parquet"))
    path.unlink()
    for stage in (*corpus_stages(workspace), TensorShards(workspace, Recipe.HOST)):
        monkeypatch.setattr(type(stage), "make", lambda stage: pytest.fail(stage.key))

    assert make_again(workspace, Recipe.HOST) == [FEATURES]
    assert make_again(workspace, Recipe.HOST) == []
    assert stale(workspace) == {}
    assert path.exists()


def test_after_an_interruption_only_what_is_left_is_made(workspace, monkeypatch):
    monkeypatch.setattr(corpus_module, "RULES_VERSION", "other")

    def stop(result):
        if result.record.key == "corpus/grid_shards":
            raise KeyboardInterrupt

    interrupted = workspace.with_listeners(workspace.progress, stop)
    with pytest.raises(KeyboardInterrupt):
        make_again(interrupted, Recipe.HOST)

    # The rules gave the same verdicts, so that what is below them is what it was.
    assert stale(workspace) == {}
    assert make_again(workspace, Recipe.HOST) == []


QUICK = {"gbt": {"max_rounds": 3}}


@pytest.fixture
def trained(tmp_path):
    """A store of its own, with a tree model of each variant trained on it."""
    store = copy_store(tmp_path / "store", [row.ref for row in usable_rows()])
    workspace = Workspace(
        Settings(store=store.root, data=tmp_path / "data", workers=1, models=QUICK)
    )
    make_all(workspace)
    return workspace


def usable_rows():
    return list(LocalStore(SAMPLE).read_index().rows.values())


def make_data(workspace):
    for stage in (*corpus_stages(workspace), *dataset_stages(workspace, Recipe.HOST)):
        stage.ensure()


def make_all(workspace):
    make_data(workspace)
    for variant in Variant:
        TrainedCheckpoint(workspace, Recipe.HOST, Architecture.GBT, variant).ensure()


def bytes_of(workspace):
    """Every file of both datasets."""
    folders = [stage(workspace, Recipe.HOST).folder for stage in (FeatureShards, TensorShards)]
    return {path: path.read_bytes() for folder in folders for path in folder.iterdir()}


def reopened(workspace):
    # A store is listed once per workspace.
    return Workspace(workspace.settings)


@pytest.mark.long
def test_episodes_that_vanish_and_come_back_leave_everything_current(trained):
    episodes, before = trained.store.root / "episodes", bytes_of(trained)
    archives = sorted(episodes.rglob("*.tar.zst"))
    away = [path.with_suffix(".away") for path in archives]

    def move(n):
        for path, hidden in zip(archives[:n], away[:n], strict=True):
            path.rename(hidden)

    def bring_back(n):
        for path, hidden in zip(archives[:n], away[:n], strict=True):
            hidden.rename(path)

    move(10)
    with pytest.raises(StoreError, match=r"10 of 6[0-9] episodes known are not there"):
        make_data(reopened(trained))
    bring_back(10)
    assert stale(reopened(trained)) == {}

    move(2)
    make_data(reopened(trained))
    # They were read and are still trained on: nothing says that their content was wrong.
    assert stale(reopened(trained)) == {}
    assert not no_vanished(trained).passed
    bring_back(2)
    make_data(reopened(trained))

    assert stale(reopened(trained)) == {}
    assert no_vanished(trained).passed
    assert bytes_of(trained) == before


@pytest.mark.long
def test_telemetry_that_only_the_lab_has_outdates_oracle_models_alone(trained):
    def doubled(members):
        name = member(members, "telemetry-proc.jsonl")
        rows = [json.loads(line) for line in members[name].splitlines()]
        for row in rows:
            row["rss_bytes"] *= 2
        members[name] = b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    repack(trained.store, SIX[0], doubled)
    make_data(reopened(trained))

    found = stale(reopened(trained))

    key = "model/gbt/oracle/checkpoint"
    assert set(found) == {("host", key)}
    why, difference = found["host", key]
    assert why == "changed: dataset"
    assert difference.startswith("dataset was ")


def test_a_further_seed_is_stale_with_its_model_and_made_again_with_it(workspace):
    model = (Recipe.HOST, Architecture.GBT, Variant.REALISTIC)

    def after_rounds(n):
        return workspace_in(workspace.paths.root, models={"gbt": {"max_rounds": n}})

    trained = after_rounds(3)
    for seed in (0, 1):
        TrainedCheckpoint(trained, *model, seed=seed).ensure()
    assert stale(trained) == {}

    found = stale(after_rounds(4))
    made = make_again(after_rounds(4), Recipe.HOST)

    keys = [f"model/gbt/realistic/{seed}checkpoint" for seed in ("", "seed-1/")]
    said = ("changed: training", "max_rounds was 3, is 4")
    assert found == {("host", key): said for key in keys}
    assert made == keys
    assert stale(after_rounds(4)) == {}

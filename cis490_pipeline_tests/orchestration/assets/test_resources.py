import dagster as dg
import pytest

from cis490_pipeline.compute import DaskCompute
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Architecture, Recipe, Variant
from cis490_pipeline.errors import ConfigError
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.models.registry import create
from cis490_pipeline.orchestration.assets.resources import (
    DEFAULT_EPOCHS,
    DEFAULT_ROUNDS,
    workspace_resource,
)

MLP = (Recipe.HOST, Architecture.MLP, Variant.REALISTIC)
GBT = (Recipe.HOST, Architecture.GBT, Variant.REALISTIC)


@pytest.fixture
def given(workspace, monkeypatch, tmp_path):
    """A workspace as a run of the launchpad opens it, on a data folder with datasets."""
    monkeypatch.chdir(tmp_path)
    place = {"store": str(workspace.settings.store), "data": str(workspace.paths.root)}

    def opened(**config):
        context = dg.build_init_resource_context(config={**place, **config})
        return workspace_resource(context)

    return opened


def inputs(workspace, model):
    return TrainedCheckpoint(workspace, *model).inputs()


def of_the_command_line(workspace, **settings):
    place = {"store": workspace.settings.store, "data": workspace.settings.data}
    return Workspace(Settings(**place, **settings))


@pytest.mark.long
def test_defaults_give_the_records_of_the_command_line(given):
    opened = given()

    assert inputs(opened, MLP) == inputs(of_the_command_line(opened), MLP)
    assert inputs(given(epochs=DEFAULT_EPOCHS, rounds=DEFAULT_ROUNDS), GBT) == inputs(opened, GBT)


@pytest.mark.parametrize(
    ("config", "model", "settings"),
    [
        ({"epochs": 3}, MLP, {"models": {"mlp": {"max_epochs": 3}}}),
        ({"rounds": 7}, GBT, {"models": {"gbt": {"max_rounds": 7}}}),
        ({"seed": 5}, MLP, {"seed": 5}),
    ],
)
@pytest.mark.long
def test_a_limit_changes_the_record_as_the_settings_file_does(given, config, model, settings):
    opened = given(**config)

    assert inputs(opened, model) == inputs(of_the_command_line(opened, **settings), model)
    assert inputs(opened, model) != inputs(given(), model)
    assert TrainedCheckpoint(opened, *GBT).outdated() is not None or model is MLP


def test_rounds_leave_networks_alone_and_epochs_the_trees(given):
    assert inputs(given(rounds=7), MLP) == inputs(given(), MLP)
    assert inputs(given(epochs=3), GBT) == inputs(given(), GBT)


def test_a_limit_joins_what_the_settings_file_says(given, tmp_path):
    (tmp_path / "cis490.toml").write_text("[models.mlp]\ndropout = 0.2\nmax_epochs = 9\n")

    assert given().settings.models["mlp"] == {"dropout": 0.2, "max_epochs": 9}
    assert given(epochs=3).settings.models["mlp"] == {"dropout": 0.2, "max_epochs": 3}


def test_a_table_of_one_architecture_wins_over_the_file_and_the_limit(given, tmp_path):
    (tmp_path / "cis490.toml").write_text("[models.mlp]\ndropout = 0.2\nmax_epochs = 9\n")

    opened = given(epochs=3, models={"mlp": {"max_epochs": 5}, "gbt": {"max_depth": 4}})

    assert opened.settings.models["mlp"] == {"dropout": 0.2, "max_epochs": 5}
    assert opened.settings.models["gru"] == {"max_epochs": 3}
    assert opened.settings.models["gbt"] == {"max_depth": 4}


@pytest.mark.parametrize(
    ("models", "error", "said"),
    [
        ({"svm": {}}, dg.DagsterInvalidConfigError, "svm"),
        ({"gru": 3}, dg.DagsterInvalidConfigError, "gru"),
        ({"gru": {"seed": 3}}, ConfigError, "gru.seed is a setting of its own"),
    ],
)
def test_a_table_that_cannot_be_is_refused(given, models, error, said):
    with pytest.raises(error, match=said):
        given(models=models)


def test_a_setting_that_an_architecture_lacks_is_refused_before_it_trains(given):
    opened = given(models={"mlp": {"hiden": 8}})

    with pytest.raises(ConfigError, match="hiden"):
        TrainedCheckpoint(opened, *MLP).ensure()


@pytest.mark.parametrize("architecture", list(Architecture))
def test_the_launchpads_defaults_are_the_architectures(architecture):
    config = create(architecture, Variant.ORACLE, seed=0).config

    if architecture is Architecture.GBT:
        assert config.max_rounds == DEFAULT_ROUNDS
    else:
        assert config.max_epochs == DEFAULT_EPOCHS


def test_every_field_of_the_launchpad_says_what_it_is():
    fields = workspace_resource.config_schema.config_type.fields

    assert {"epochs", "rounds", "seed", "threads", "workers"} <= set(fields)
    assert all(field.description for field in fields.values())


def test_what_is_set_for_one_run_wins_and_the_run_is_named_to_the_cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("CIS490_DATA", str(tmp_path))
    monkeypatch.setenv("CIS490_SEED", "1")
    seen = []

    @dg.asset
    def probe(workspace: dg.ResourceParam[Workspace]) -> None:
        seen.append(workspace)

    settings = {"seed": 2, "dask_address": "tls://scheduler.lab:8786"}
    result = dg.materialize(
        [probe], resources={"workspace": workspace_resource.configured(settings)}
    )

    (workspace,) = seen
    assert (workspace.settings.data, workspace.settings.seed) == (tmp_path, 2)
    assert isinstance(workspace.compute, DaskCompute)
    assert workspace.compute.cluster.address == "tls://scheduler.lab:8786"
    assert workspace.compute.cluster.run == workspace.run == result.run_id

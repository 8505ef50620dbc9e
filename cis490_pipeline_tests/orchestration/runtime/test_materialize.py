import shutil

import dagster as dg
import pytest

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import PipelineError, SplitError
from cis490_pipeline.experiment.order import recipe_stages
from cis490_pipeline.experiment.pipeline.dataset import FeatureShards, ValidationIndex
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.orchestration.runtime import materialize as module
from cis490_pipeline.orchestration.runtime.materialize import instance_of, materialize_recipe
from cis490_pipeline_tests.experiment.runs import SIX, copy_store
from cis490_pipeline_tests.orchestration.making import (
    CHECKPOINT,
    CORPUS,
    FEATURES,
    INDEX,
    ONE_MODEL,
    REPORT,
    TENSORS,
    accept,
    flip_a_byte,
    key_of,
    workspace_in,
)

UP_TO_DATE = dict.fromkeys((*CORPUS, *ONE_MODEL), "up to date")


@pytest.fixture(scope="module", autouse=True)
def one_model_without_a_home():
    """Twelve models take minutes: one shows what all do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_HOME", raising=False)
        patch.setattr(
            module,
            "recipe_stages",
            lambda *of: [stage for stage in recipe_stages(*of) if stage.key in ONE_MODEL],
        )
        yield


def bring_up_to_date(workspace):
    said = {}

    def announce(result):
        said[result.record.key] = result.why

    heard = workspace.with_listeners(workspace.progress, announce)
    return materialize_recipe(heard, Recipe.HOST), said


@pytest.fixture(scope="module")
def second_run(first_runs, tmp_path_factory):
    """What one instance made, brought up to date in the data folder's own: (workspace, keys)."""
    data = tmp_path_factory.mktemp("materialize") / "data"
    shutil.copytree(first_runs[0].paths.root, data)
    return workspace_in(data), bring_up_to_date(workspace_in(data))[0]


@pytest.fixture
def workspace(second_run, tmp_path):
    """A copy of what is made and recorded, to change at will."""
    shutil.copytree(second_run[0].paths.root, tmp_path / "data")
    return workspace_in(tmp_path / "data")


@pytest.mark.long
def test_what_was_made_elsewhere_is_recorded_once_and_then_left_alone(second_run, workspace):
    assert second_run[1] == [*CORPUS, *ONE_MODEL]
    assert bring_up_to_date(workspace) == ([], UP_TO_DATE)


@pytest.mark.long
def test_what_is_recorded_lies_where_dagster_dev_reads_it(workspace):
    assert (workspace.paths.dagster / "history").is_dir()
    with instance_of(workspace) as instance:
        assert instance.get_materialized_partitions(key_of(REPORT)) == {"host"}


@pytest.mark.long
def test_a_lost_file_is_made_again_and_what_follows_is_recorded(workspace):
    features = FeatureShards(workspace, Recipe.HOST)
    min(features.folder.glob("*.parquet")).unlink()

    done, said = bring_up_to_date(workspace)

    assert done == [FEATURES, CHECKPOINT, REPORT]
    assert said[FEATURES].startswith("missing or altered: ")
    assert said[CHECKPOINT] == "up to date"
    assert said[TENSORS] == "up to date"


@pytest.mark.long
def test_a_failed_check_stops_this_run_and_the_next_until_it_passes(workspace):
    features = FeatureShards(workspace, Recipe.HOST)
    damaged = min(features.folder.glob("train-*.parquet"))
    flip_a_byte(damaged)
    accept(features)
    # Without its record the index is made again, so that all below it is recorded and checked.
    ValidationIndex(workspace, Recipe.HOST).record_path.unlink()

    for _ in range(2):
        with pytest.raises(
            PipelineError,
            match=r"dataset/feature_shards: check files_match_digests failed: .*missing or changed",
        ):
            bring_up_to_date(workspace)
    flip_a_byte(damaged)
    accept(features)
    done, said = bring_up_to_date(workspace)

    assert INDEX not in done
    assert "files_match_digests" in said[FEATURES]
    assert bring_up_to_date(workspace) == ([], UP_TO_DATE)


def test_a_failed_step_is_named_with_its_cause(tmp_path):
    settings = Settings(store=tmp_path / "nowhere", data=tmp_path / "data", workers=1)

    with pytest.raises(
        PipelineError, match=r"corpus__validation_sweep: .*StoreError: .*nowhere: no such store"
    ):
        bring_up_to_date(Workspace(settings))


def test_a_training_host_that_is_not_in_the_store_is_told_before_anything_is_recorded(tmp_path):
    store = copy_store(tmp_path / "store", SIX[4:])
    workspace = Workspace(Settings(store=store.root, data=tmp_path / "data", workers=1))

    with pytest.raises(SplitError, match="no episode of the train hosts elliott-thinkpad; "):
        bring_up_to_date(workspace)

    assert not workspace.paths.validation.exists()
    assert not workspace.paths.dagster.exists()


@pytest.mark.parametrize("name", ["[lab]", "a?b", "a#b", "50%(x)s", "a b"])
def test_what_is_recorded_lies_in_the_data_folder_whatever_that_is_called(name, tmp_path):
    data = tmp_path / "here" / name
    with instance_of(workspace_in(data)) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(INDEX))

    with instance_of(workspace_in(data)) as instance:
        assert instance.fetch_materializations(key_of(INDEX), limit=1).records
    assert list((tmp_path / "here").iterdir()) == [data]

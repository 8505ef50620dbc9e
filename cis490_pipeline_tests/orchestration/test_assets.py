import re

import dagster as dg
import polars as pl
import pytest

from cis490_pipeline.checkpoints.manifest import BOOSTER
from cis490_pipeline.domain import Architecture, Recipe, Variant
from cis490_pipeline.experiment.order import corpus_stages, dataset_stages, recipe_stages
from cis490_pipeline.experiment.pipeline.dataset import FeatureShards, TensorShards, ValidationIndex
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.storage.files import read_json
from cis490_pipeline_tests.orchestration.making import (
    CHECKPOINT,
    CORPUS,
    FEATURES,
    INDEX,
    ONE_MODEL,
    REPORT,
    TENSORS,
    accept,
    failed_checks,
    flip_a_byte,
    materialize,
    materialized,
    workspace_in,
)

GBT = (Recipe.HOST, Architecture.GBT, Variant.REALISTIC)


def stages_of(workspace):
    stages = (*corpus_stages(workspace), *recipe_stages(workspace, Recipe.HOST))
    return {stage.key: stage for stage in stages}


def versions(run):
    return {name: event.tags["dagster/data_version"] for name, event in materialized(run).items()}


def test_the_sample_makes_a_model_and_its_report_from_nothing(first_runs):
    _, (corpus, recipe) = first_runs

    assert list(materialized(corpus)) == CORPUS
    assert set(materialized(recipe)) == set(ONE_MODEL)
    assert len(list(recipe.get_asset_check_evaluations())) == 11


def test_a_report_shows_its_score_with_interval_and_counts(first_runs):
    workspace, (_, recipe) = first_runs
    report = read_json(workspace.paths.report_json("host", "gbt_realistic"))

    shown = materialized(recipe)[REPORT].metadata

    for name in ("macro_f1", "ci_low", "ci_high", "n_episodes", "n_windows"):
        assert shown[name].value == round(report[name], 3)
    assert shown["ci_low"].value < shown["macro_f1"].value < shown["ci_high"].value
    assert "scan-and-dial" in shown["untested_profiles"].value


def test_a_report_shows_the_intervals_of_its_detection(first_runs):
    workspace, (_, recipe) = first_runs
    report = read_json(workspace.paths.report_json("host", "gbt_realistic"))

    shown = materialized(recipe)[REPORT].metadata

    times = report["detection"]["time_to_detection"]
    assert times["n_infected"] > 0
    for name in ("share_detected", "share_low", "share_high", "n_infected"):
        assert shown[name].value == round(times[name], 3)
    assert shown["median_low_s"].value <= shown["median_s"].value


def test_a_report_shows_its_confusion_as_a_small_picture(first_runs):
    _, (_, recipe) = first_runs

    plot = materialized(recipe)[REPORT].metadata["confusion"].value

    assert re.fullmatch(r"!\[confusion\]\(data:image/png;base64,iVBOR[A-Za-z0-9+/=]+\)", plot)
    assert len(plot) < 100_000


def test_a_checkpoint_shows_its_folder_and_its_learning_curve(first_runs):
    workspace, (_, recipe) = first_runs

    shown = materialized(recipe)[CHECKPOINT].metadata

    assert shown["checkpoint"].value == str(TrainedCheckpoint(workspace, *GBT).folder)
    assert shown["learning_curve"].value.startswith("![learning curve](data:image/png;base64,iVBOR")


def test_the_data_version_of_every_asset_is_the_digest_of_its_content(first_runs):
    workspace, (corpus, recipe) = first_runs
    stages = stages_of(workspace)

    found = versions(corpus) | versions(recipe)

    assert found == {name: stages[name].record().digest for name in (*CORPUS, *ONE_MODEL)}


def test_every_column_of_every_table_is_described_and_its_rows_are_counted(first_runs):
    _, (corpus, recipe) = first_runs
    tables = {
        name: event.metadata
        for name, event in {**materialized(corpus), **materialized(recipe)}.items()
        if "dagster/column_schema" in event.metadata
    }

    assert set(tables) == {*CORPUS, INDEX, FEATURES, TENSORS}
    columns = [
        column
        for metadata in tables.values()
        for column in metadata["dagster/column_schema"].value.columns
    ]
    assert [column.name for column in columns if column.description is None] == []
    rows = {name: metadata["dagster/row_count"].value for name, metadata in tables.items()}
    assert rows[CORPUS[0]] == 66
    windows = [f"windows_{side}" for side in ("train", "val", "test")]
    assert rows[FEATURES] == sum(tables[FEATURES][name].value for name in windows)
    assert tables[INDEX]["dagster/partition_row_count"].value == rows[INDEX]


def test_the_numbers_of_a_check_are_plotted_a_line_for_each_partition(first_runs):
    _, (_, recipe) = first_runs
    (leaks,) = (
        evaluation.metadata
        for evaluation in recipe.get_asset_check_evaluations()
        if evaluation.check_name == "no_window_on_two_sides"
    )

    # The UI plots floats only, and one line for each name.
    assert leaks
    assert {name.rpartition(" ")[2] for name in leaks} == {"(host)"}
    assert {type(number) for number in leaks.values()} == {dg.FloatMetadataValue}


def test_no_metadata_of_an_asset_is_too_large_for_a_page(first_runs):
    for run in first_runs[1]:
        for event in materialized(run).values():
            assert sum(len(str(value.value)) for value in event.metadata.values()) < 100_000


def test_a_second_materialization_records_and_makes_nothing(
    first_runs, workspace, instance, monkeypatch
):
    def refuse(stage):
        raise AssertionError(f"{stage.key} was made again")

    for stage in stages_of(workspace).values():
        monkeypatch.setattr(type(stage), "make", refuse)

    corpus = materialize(workspace, instance, CORPUS)
    recipe = materialize(workspace, instance, ONE_MODEL, "host")

    assert corpus.success
    assert recipe.success
    assert versions(corpus) | versions(recipe) == versions(first_runs[1][0]) | versions(
        first_runs[1][1]
    )
    events = {**materialized(corpus), **materialized(recipe)}
    assert {event.metadata["made_because"].value for event in events.values()} == {
        "up to date: not made again"
    }


def first_of(index, side):
    return index.filter(side=side).row(0, named=True)


def host_moved_to_train(index):
    chosen = pl.col("episode_id") == first_of(index, "test")["episode_id"]
    return index.with_columns(side=pl.when(chosen).then(pl.lit("train")).otherwise("side"))


def content_copied_to_test(index):
    chosen = pl.col("episode_id") == first_of(index, "test")["episode_id"]
    copied = pl.lit(first_of(index, "train")["content_digest"])
    return index.with_columns(
        content_digest=pl.when(chosen).then(copied).otherwise("content_digest")
    )


def profile_taken_from_train(index):
    profile = first_of(index, "test")["profile"]
    chosen = (pl.col("profile") == profile) & (pl.col("side") == "train")
    return index.with_columns(side=pl.when(chosen).then(pl.lit("excluded")).otherwise("side"))


@pytest.mark.parametrize(
    ("plant", "check", "said"),
    [
        (host_moved_to_train, "sides_are_disjoint", "test host .* is also trained on"),
        (
            content_copied_to_test,
            "sides_are_disjoint",
            r"content .* two sides: \w+ \(test\), \w+ \(train\)",
        ),
        (profile_taken_from_train, "profiles_are_stratified", "tested but never trained on"),
    ],
)
def test_a_planted_leak_fails_its_check_and_stops_that_partition_only(
    workspace, instance, plant, check, said
):
    path = workspace.paths.validation_index("host")
    plant(pl.read_parquet(path)).write_parquet(path)
    accept(ValidationIndex(workspace, Recipe.HOST))

    host = materialize(workspace, instance, ONE_MODEL, "host")
    time = materialize(workspace, instance, [INDEX], "time")

    assert not host.success
    failed = failed_checks(host)
    assert list(failed) == [(INDEX, check)]
    assert re.search(said, failed[INDEX, check])
    assert set(materialized(host)) == {INDEX}
    assert time.success


@pytest.mark.parametrize("stage", [FeatureShards, TensorShards])
@pytest.mark.parametrize("suffix", [".parquet", ".npy", ".json"])
def test_a_damaged_dataset_fails_its_digests_and_nothing_is_trained(
    workspace, instance, stage, suffix
):
    damaged = stage(workspace, Recipe.HOST)
    flip_a_byte(min(damaged.folder.glob(f"*{suffix}")))
    accept(damaged)

    run = materialize(workspace, instance, [FEATURES, TENSORS, CHECKPOINT, REPORT], "host")

    assert not run.success
    failed = failed_checks(run)
    assert (damaged.key, "files_match_digests") in failed
    assert {name for name, _ in failed} == {damaged.key}
    if stage is FeatureShards:
        assert CHECKPOINT not in materialized(run)


def test_a_damaged_checkpoint_fails_its_golden_vectors_and_is_not_scored(workspace, instance):
    damaged = TrainedCheckpoint(workspace, *GBT)
    flip_a_byte(damaged.folder / BOOSTER)
    accept(damaged)

    run = materialize(workspace, instance, [CHECKPOINT, REPORT], "host")

    assert not run.success
    failed = failed_checks(run)
    assert set(failed) == {
        (CHECKPOINT, "reproduces_golden_vectors"),
        (CHECKPOINT, "fitted_on_train_alone"),
    }
    assert all(f"{BOOSTER}: sha256 is" in said for said in failed.values())
    assert set(materialized(run)) == {CHECKPOINT}


def test_a_report_made_again_is_the_same_to_the_digest(first_runs, workspace):
    stage = EvaluationReport(workspace, *GBT)

    assert stage.ensure(force=True).record.digest == versions(first_runs[1][1])[REPORT]


@pytest.mark.long
@pytest.mark.parametrize(
    ("architecture", "learnt"),
    [(Architecture.GBT, "model.ubj"), (Architecture.MLP, "weights.safetensors")],
)
def test_a_model_is_the_same_to_the_byte_with_and_without_dagster(
    workspace, instance, tmp_path, architecture, learnt
):
    run = materialize(workspace, instance, [f"model/{architecture}/realistic/checkpoint"], "host")
    alone = workspace_in(tmp_path / "alone")
    for stage in (*corpus_stages(alone), *dataset_stages(alone, Recipe.HOST)):
        stage.ensure()
    through, direct = (
        TrainedCheckpoint(place, Recipe.HOST, architecture, Variant.REALISTIC)
        for place in (workspace, alone)
    )
    made = direct.ensure()

    assert run.success
    assert versions(run) == {direct.key: made.record.digest}
    assert (through.folder / learnt).read_bytes() == (direct.folder / learnt).read_bytes()

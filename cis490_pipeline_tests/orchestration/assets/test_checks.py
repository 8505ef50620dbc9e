"""Faults planted in datasets, sealed so well that only the check for that fault can find them."""

import re

import polars as pl
import pytest

from cis490_pipeline.domain import Architecture, Recipe, Variant
from cis490_pipeline.experiment.pipeline.dataset import FeatureShards, TensorShards
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.experiment.stages.stage import Stage
from cis490_pipeline.storage.files import digest, file_sha256, read_json, write_json
from cis490_pipeline_tests.orchestration.making import (
    CHECKPOINT,
    FEATURES,
    INDEX,
    REPORT,
    TENSORS,
    accept,
    failed_checks,
    materialize,
    materialized,
)


def seal(stage: FeatureShards | TensorShards):
    """Give a dataset the digests of what its files hold now, in its manifest and its record."""
    path = stage.folder / "manifest.json"
    manifest = read_json(path)
    manifest["files"] = {name: file_sha256(stage.folder / name) for name in manifest["files"]}
    content = {k: v for k, v in manifest.items() if k not in ("digest", "grids_folder")}
    manifest["digest"] = digest(content)
    write_json(path, manifest)
    accept(stage)


def table_of(stage, pattern):
    return min(stage.folder.glob(pattern))


def rewrite(path, change):
    change(pl.read_parquet(path)).write_parquet(path)


def infinite_feature(workspace):
    stage = FeatureShards(workspace, Recipe.HOST)
    column = "guest.cpu_user:mean"
    value = pl.when(pl.int_range(pl.len()) == 0).then(float("inf")).otherwise(pl.col(column))
    rewrite(
        table_of(stage, "val-*.parquet"),
        lambda frame: frame.with_columns(value.cast(frame.schema[column]).alias(column)),
    )
    seal(stage)


def other_schema(workspace):
    stage = FeatureShards(workspace, Recipe.HOST)
    path = stage.folder / "feature_schema_v1.json"
    write_json(path, {**read_json(path), "baseline_s": 20.0})
    seal(stage)


def phase_without_training_windows(workspace):
    stage = TensorShards(workspace, Recipe.HOST)
    windows = table_of(stage, "index.parquet")
    rewrite(
        windows, lambda w: w.filter(~((pl.col("split") == "train") & (pl.col("y") == "dormant")))
    )
    seal(stage)


def window_on_two_sides(workspace):
    stage = TensorShards(workspace, Recipe.HOST)

    def moved(windows):
        first = windows.filter(split="train").row(5, named=True)
        chosen = (pl.col("episode_id") == first["episode_id"]) & (
            pl.col("window_idx") == first["window_idx"]
        )
        return windows.with_columns(
            split=pl.when(chosen)
            .then(pl.lit("test"))
            .otherwise("split")
            .cast(windows["split"].dtype)
        )

    rewrite(table_of(stage, "index.parquet"), moved)
    seal(stage)


@pytest.mark.parametrize(
    ("plant", "check", "said"),
    [
        (infinite_feature, (FEATURES, "features_are_finite"), "^1 infinite features$"),
        (other_schema, (FEATURES, "schema_is_this_codes"), "baseline_s was 20.0, is 15.0"),
        (
            phase_without_training_windows,
            (TENSORS, "every_phase_is_trained"),
            "train has no window",
        ),
        (window_on_two_sides, (TENSORS, "no_window_on_two_sides"), r"^[1-9]\d* leaks"),
    ],
)
def test_a_planted_fault_fails_its_check_and_blocks_its_recipe_alone(
    workspace, instance, plant, check, said
):
    plant(workspace)

    host = materialize(workspace, instance, [FEATURES, TENSORS, CHECKPOINT, REPORT], "host")
    time = materialize(workspace, instance, [INDEX, FEATURES, TENSORS], "time")

    failed = failed_checks(host)
    assert not host.success
    assert check in failed
    assert re.search(said, failed[check])
    # What reads the schema refuses this too; no other dataset is blamed.
    assert {name for name, _ in failed} == {check[0]}
    if check[0] == FEATURES:
        assert not {CHECKPOINT, REPORT} & set(materialized(host))
    assert time.success
    assert failed_checks(time) == {}


@pytest.mark.parametrize("plant", [other_schema])
def test_the_trainer_refuses_by_itself_what_a_check_of_another_run_found(
    workspace, instance, plant
):
    plant(workspace)
    stage: Stage = TrainedCheckpoint(workspace, Recipe.HOST, Architecture.GBT, Variant.REALISTIC)
    stage.record_path.unlink()

    run = materialize(workspace, instance, [CHECKPOINT], "host")

    assert not run.success
    assert materialized(run) == {}
    (failure,) = [event for event in run.all_events if event.is_step_failure]
    assert "baseline_s was 20.0, is 15.0" in str(failure.step_failure_data.error)

"""Assets materialized in this process, on the recorded sample, with the quickest model."""

import json
from pathlib import Path

import dagster as dg

import cis490_pipeline
from cis490_pipeline.config import Settings
from cis490_pipeline.experiment.stages.stage import Stage
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.orchestration.assets.checks import checks
from cis490_pipeline.orchestration.definitions import corpus_assets, recipe_assets

PROJECT = Path(cis490_pipeline.__file__).parents[1]
SAMPLE = PROJECT / "data" / "sample"

CORPUS = ["corpus/validation_sweep", "corpus/grid_shards"]
INDEX = "dataset/validation_index"
FEATURES = "dataset/feature_shards"
TENSORS = "dataset/tensor_shards"
CHECKPOINT = "model/gbt/realistic/checkpoint"
REPORT = "model/gbt/realistic/eval_report"
ONE_MODEL = [INDEX, FEATURES, TENSORS, CHECKPOINT, REPORT]


def key_of(name):
    return dg.AssetKey(name.split("/"))


def workspace_in(data):
    return Workspace(Settings(store=SAMPLE, data=data, workers=1))


def materialize(workspace, instance, names, recipe=None):
    """Materialize named assets and run their checks; a failure is in the result, not raised."""
    keys = [key_of(name) for name in names]
    chosen = dg.AssetSelection.assets(*keys) | dg.AssetSelection.checks_for_assets(*keys)
    assets = [*(recipe_assets if recipe else corpus_assets), *(checks if recipe else [])]
    return materialize_assets(assets, workspace, instance, recipe, selection=chosen)


def materialize_assets(assets, workspace, instance, recipe, **selected):
    """Materialize assets in a workspace without a word on the console."""
    return dg.materialize(
        assets,
        **selected,
        partition_key=recipe,
        instance=instance,
        resources={"workspace": dg.ResourceDefinition.hardcoded_resource(workspace)},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
    )


def materialized(result):
    """Return the materialization of each asset of a run, by name."""
    return {
        event.asset_key.to_user_string(): event.materialization
        for event in result.get_asset_materialization_events()
    }


def failed_checks(result):
    return {
        (evaluation.asset_key.to_user_string(), evaluation.check_name): evaluation.description
        for evaluation in result.get_asset_check_evaluations()
        if not evaluation.passed
    }


def accept(stage: Stage):
    """Make a stage's record newer than its files and true of their sizes.

    What was done to the files is then what only a check finds: a stage reads again what was
    touched since it was recorded, and makes it again if it differs.
    """
    record = json.loads(stage.record_path.read_text())
    root = stage.workspace.paths.root
    record["files"] = {name: (root / name).stat().st_size for name in record["files"]}
    stage.record_path.write_text(json.dumps(record))


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

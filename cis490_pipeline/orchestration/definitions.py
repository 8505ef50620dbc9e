"""Dagster definitions: all assets, checks, jobs, schedules and sensors.

Imports neither torch nor xgboost, so that it loads in seconds.
"""

import warnings

import dagster as dg

from cis490_pipeline.orchestration.assets.checks import checks, warning_checks
from cis490_pipeline.orchestration.assets.corpus import grid_shards, validation_sweep
from cis490_pipeline.orchestration.assets.dataset import (
    feature_shards,
    tensor_shards,
    validation_index,
)
from cis490_pipeline.orchestration.assets.models import (
    ablation,
    checkpoints,
    leaderboard,
    reports,
    robustness,
)
from cis490_pipeline.orchestration.assets.resources import workspace_resource
from cis490_pipeline.orchestration.jobs import (
    automation,
    corpus,
    nightly,
    recipe,
    weekly_retraining,
)
from cis490_pipeline.orchestration.publish.dashboard import model_metric_events, unpublished_scores
from cis490_pipeline.orchestration.publish.failures import failed_runs
from cis490_pipeline.orchestration.runtime.executors import model_executor

corpus_assets = [validation_sweep, grid_shards]
recipe_assets = [
    validation_index,
    feature_shards,
    tensor_shards,
    *checkpoints,
    *reports,
    ablation,
    robustness,
    leaderboard,
]

with warnings.catch_warnings():
    # Beta feature of Dagster: the catalog links each asset to its source.
    warnings.simplefilter("ignore", dg.BetaWarning)
    linked_assets = dg.with_source_code_references(
        [*corpus_assets, *recipe_assets, model_metric_events]
    )

defs = dg.Definitions(
    assets=linked_assets,
    asset_checks=[*checks, *warning_checks],
    jobs=[corpus, recipe],
    schedules=[nightly, weekly_retraining],
    sensors=[automation, unpublished_scores, failed_runs],
    resources={"workspace": workspace_resource},
    executor=model_executor,
)

"""Dagster definitions: all assets, checks, jobs, schedules and sensors.

Imports neither torch nor xgboost, so that it loads in seconds.
"""

import warnings

import dagster as dg

from cis490_pipeline.orchestration import jobs
from cis490_pipeline.orchestration.assets import corpus, dataset, models
from cis490_pipeline.orchestration.assets.checks import checks, warning_checks
from cis490_pipeline.orchestration.assets.resources import workspace_resource
from cis490_pipeline.orchestration.publish.dashboard import model_metric_events, unpublished_scores
from cis490_pipeline.orchestration.publish.failures import failed_runs
from cis490_pipeline.orchestration.runtime.executors import model_executor

corpus_assets = [corpus.validation_sweep, corpus.grid_shards]
recipe_assets = [
    *(dataset.validation_index, dataset.feature_shards, dataset.tensor_shards),
    *(*models.checkpoints, *models.reports),
    *(models.ablation, models.robustness, models.leaderboard),
]

with warnings.catch_warnings():
    # Beta feature of Dagster: the catalog links each asset to its source.
    warnings.simplefilter("ignore", dg.BetaWarning)
    linked_assets = dg.with_source_code_references([*corpus_assets, *recipe_assets])

defs = dg.Definitions(
    assets=[*linked_assets, model_metric_events],
    asset_checks=[*checks, *warning_checks],
    jobs=[jobs.corpus, jobs.recipe],
    schedules=[jobs.nightly, jobs.weekly_retraining],
    sensors=[jobs.automation, unpublished_scores, failed_runs],
    resources={"workspace": workspace_resource},
    executor=model_executor,
)

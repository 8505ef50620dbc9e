"""What is launched as one: the corpus, a recipe; and when."""

import dagster as dg

from cis490_pipeline.orchestration.assets.partitions import recipes
from cis490_pipeline.orchestration.runtime.executors import corpus_executor

corpus_assets = dg.AssetSelection.groups("corpus")
recipe_assets = dg.AssetSelection.groups("dataset", "models")

corpus = dg.define_asset_job(
    "corpus",
    corpus_assets,
    executor_def=corpus_executor,
    description="Validate what arrived and grid the usable episodes.",
)
recipe = dg.define_asset_job(
    "recipe",
    recipe_assets,
    description="Everything of one split: data, twelve models, reports, leaderboard.",
)

nightly = dg.ScheduleDefinition(
    name="nightly",
    job=corpus,
    cron_schedule="0 3 * * *",
    description="Validate the day's episodes; datasets follow by themselves if content changed.",
)


@dg.schedule(
    job=recipe,
    cron_schedule="0 4 * * 0",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every Sunday: all splits, of which only what is outdated is made.",
)
def weekly_retraining(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest]:
    """Request one run per split."""
    day = context.scheduled_execution_time.date().isoformat()
    return [
        dg.RunRequest(run_key=f"{day}-{name}", partition_key=name)
        for name in recipes.get_partition_keys()
    ]


automation = dg.AutomationConditionSensorDefinition(
    "dataset_automation",
    target=dg.AssetSelection.groups("dataset"),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
)

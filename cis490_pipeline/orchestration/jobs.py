"""Jobs and schedules: the corpus, and one recipe."""

import dagster as dg

from cis490_pipeline.orchestration import slots
from cis490_pipeline.orchestration.assets.recording import recipes
from cis490_pipeline.orchestration.runtime.executors import corpus_executor

corpus_assets = dg.AssetSelection.groups("corpus")
recipe_assets = dg.AssetSelection.key_prefixes("dataset", "model")

corpus = dg.define_asset_job(
    "corpus",
    corpus_assets,
    executor_def=corpus_executor,
    tags=slots.CORPUS,
    description="Validate new episodes and build grids of the usable ones.",
)
recipe = dg.define_asset_job(
    "recipe",
    recipe_assets,
    tags=slots.TRAINING,
    description="Everything of one recipe: data, twelve models, reports, tables, leaderboard.",
)

nightly = dg.ScheduleDefinition(
    name="nightly",
    job=corpus,
    cron_schedule="0 3 * * *",
    description="Validate the day's episodes; datasets follow automatically if content changed.",
)


@dg.schedule(
    job=recipe,
    cron_schedule="0 4 * * 0",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every Sunday: remake what is outdated of all recipes.",
)
def weekly_retraining(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest]:
    """Request one run per recipe."""
    day = context.scheduled_execution_time.date().isoformat()
    return [
        dg.RunRequest(run_key=f"{day}-{name}", partition_key=name)
        for name in recipes.get_partition_keys()
    ]


automation = dg.AutomationConditionSensorDefinition(
    "dataset_automation",
    target=dg.AssetSelection.groups("dataset"),
    run_tags=slots.DATASETS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
)

"""What is launched as one: the corpus, a recipe; and when."""

import dagster as dg

corpus_assets = dg.AssetSelection.groups("corpus")
recipe_assets = dg.AssetSelection.groups("dataset", "models")

corpus = dg.define_asset_job(
    "corpus", corpus_assets, description="Validate what arrived and grid the usable episodes."
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

automation = dg.AutomationConditionSensorDefinition(
    "dataset_automation",
    target=dg.AssetSelection.groups("dataset"),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
)

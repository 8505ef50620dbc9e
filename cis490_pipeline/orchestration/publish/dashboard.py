"""Publish leaderboard scores: a sensor that delivers events, and the asset that shows what it did.

Not ``@asset_sensor``, which drops events when several arrive between two ticks. The sensor compares
acknowledgements with what exists, so no leaderboard is missed. It delivers in its own tick: a run
would wait for a slot of the run queue, and fail whenever a dashboard is down.
"""

import dagster as dg

from cis490_pipeline.config import Settings
from cis490_pipeline.events.publisher import publishers
from cis490_pipeline.orchestration.assets.models import leaderboard
from cis490_pipeline.orchestration.assets.recording import OWNER, recipes
from cis490_pipeline.orchestration.publish.delivery import Cursor, Delivery
from cis490_pipeline.orchestration.publish.failures import alert

model_metric_events = dg.AssetSpec(
    key=["dashboard", "model_metric_events"],
    deps=[leaderboard],
    partitions_def=recipes,
    group_name="dashboard",
    kinds={"python"},
    owners=[OWNER],
    description="Leaderboard scores that every dashboard acknowledged (HTTP 200). Published by the "
    "sensor `unpublished_scores`, so that it cannot be materialized by a run; each observation is "
    "the acknowledgement of one dashboard.",
)


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Publishes leaderboards to every dashboard, in order, until acknowledged. Launches "
    "no run; what a dashboard missed while it was down is published once it is back.",
)
def unpublished_scores(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Publish the leaderboards that a dashboard has not acknowledged.

    Each acknowledgement is recorded per dashboard, so that one that does not answer delays no
    other. A refusal, unlike a dashboard that is down, is alerted: the first of consecutive ones.
    """
    settings = Settings.load()
    if not settings.dashboards:
        return dg.SkipReason("CIS490_DASHBOARD_URL is not set: nothing to publish to")
    cursor = Cursor.read(context.cursor)
    delivery = Delivery(context.instance, leaderboard.key, model_metric_events.key, cursor)
    for publisher in publishers(settings):
        delivery.to(publisher, recipes.get_partition_keys())
    delivery.record(settings.dashboards)
    if delivery.refused:
        text = f"scores are not published: {'; '.join(dict.fromkeys(delivery.refused))}"
        context.log.error(text)
        alert(text)
    notes = "; ".join(dict.fromkeys(delivery.notes)) or "every leaderboard is acknowledged"
    return dg.SensorResult(skip_reason=notes, cursor=delivery.cursor)

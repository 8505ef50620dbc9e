"""Publish leaderboard scores: an asset that delivers events, and a sensor that requests it.

Not ``@asset_sensor``, which drops events when several arrive between two ticks. The sensor compares
acknowledgements with what exists, so no leaderboard is missed.
"""

import dagster as dg

from cis490_pipeline.config import Settings
from cis490_pipeline.errors import EventError
from cis490_pipeline.events.publisher import publishers
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.orchestration.assets.models import leaderboard
from cis490_pipeline.orchestration.assets.recording import OWNER, recipes
from cis490_pipeline.orchestration.publish import drain
from cis490_pipeline.storage.files import digest

PUBLISHED_TO = "published_to_storage_id"
"""Metadata key: the leaderboard event up to which every dashboard acknowledged."""

PENDING = "cis490/pending"
"""Tag of a run: digest of the unacknowledged events of each dashboard when it was requested."""

MAX_BACKOFF_TICKS = 64


@dg.asset(
    key=["dashboard", "model_metric_events"],
    deps=[leaderboard],
    partitions_def=recipes,
    group_name="dashboard",
    kinds={"python"},
    owners=[OWNER],
    # Two concurrent runs would publish the same events twice.
    pool="publish",
)
def model_metric_events(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult[None]:
    """Publish leaderboard scores to every dashboard, in order, until acknowledged.

    Each acknowledgement (HTTP 200) is recorded at once and per dashboard, so that one that does
    not answer delays no other.
    """
    settings, instance = workspace.settings, context.instance
    partition = context.partition_key
    if not settings.dashboards:
        raise dg.Failure(
            "no dashboard to publish to: set CIS490_DASHBOARD_URL", allow_retries=False
        )
    delivered, n_events, without, failures = 0, 0, 0, []
    for publisher in publishers(settings):
        url = publisher.url
        last = drain.acknowledged(instance, context.asset_key, partition, url)
        for event in drain.unacknowledged(instance, leaderboard.key, partition, last):
            events = drain.events_of(instance, leaderboard.key, partition, event)
            try:
                delivered += publisher.publish(events) if events else 0
            except EventError as error:
                # Stop here: later events must not overtake this one.
                failures.append(str(error))
                break
            n_events += len(events)
            without += event.scores is None
            last = drain.acknowledge(instance, context.asset_key, partition, url, event, last)
    if failures:
        raise dg.Failure("; ".join(failures), allow_retries=False)
    return dg.MaterializeResult(
        metadata={
            "events": n_events,
            "delivered": delivered,
            "dashboards": len(settings.dashboards),
            "leaderboards_without_scores": without,
            PUBLISHED_TO: drain.newest_storage_id(instance, leaderboard.key, partition),
        }
    )


@dg.sensor(
    target=[model_metric_events],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def unpublished_scores(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Request a run for each recipe with leaderboards that a dashboard has not acknowledged."""
    dashboards = Settings.load().dashboards
    if not dashboards:
        return dg.SkipReason("CIS490_DASHBOARD_URL is not set: nothing to publish to")
    tick = int(context.cursor or "0") + 1
    requests = []
    for partition in recipes.get_partition_keys():
        pending = _pending(context.instance, partition, dashboards)
        if not pending:
            continue
        tags = {PENDING: digest(pending)[:16], "dagster/partition": partition}
        failures = drain.attempts(context.instance, tags)
        # Back off for 1, 2, 4 … ticks after each failed or cancelled run. An acknowledgement
        # changes what is pending, and so its tag: the back-off starts over.
        if tick % min(2**failures, MAX_BACKOFF_TICKS):
            continue
        requests.append(
            dg.RunRequest(
                run_key=f"{partition}-{tags[PENDING]}-{failures}",
                partition_key=partition,
                tags={PENDING: tags[PENDING]},
            )
        )
    return dg.SensorResult(run_requests=requests, cursor=str(tick))


def _pending(
    instance: dg.DagsterInstance, partition: str, dashboards: tuple[str, ...]
) -> dict[str, list[int]]:
    """Return the unacknowledged storage ids of each dashboard that has any."""
    pending = {}
    for url in dashboards:
        last = drain.acknowledged(instance, model_metric_events.key, partition, url)
        ids = [
            event.storage_id
            for event in drain.unacknowledged(instance, leaderboard.key, partition, last)
        ]
        if ids:
            pending[url] = ids
    return pending

"""Scores to dashboards: an asset that publishes, and a sensor that asks for it until it has.

Not ``@asset_sensor``: that drops events when several arrive between two ticks. This one compares
what each dashboard acknowledged with what exists, so nothing can be missed.
"""

import dagster as dg

from cis490_pipeline.config import Settings
from cis490_pipeline.errors import EventError
from cis490_pipeline.events.publisher import Publisher
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.orchestration.assets.models import leaderboard
from cis490_pipeline.orchestration.assets.partitions import OWNER, recipes
from cis490_pipeline.orchestration.publish.drain import (
    acknowledge,
    acknowledged,
    attempts,
    events_of,
    newest_storage_id,
    owed,
)
from cis490_pipeline.storage.files import digest

PUBLISHED_TO = "published_to_storage_id"
"""Metadata key: the leaderboard event up to which every dashboard acknowledged."""

PENDING = "cis490/pending"
"""Tag of a run: digest of what was owed to whom when it was asked for."""

MAX_BACKOFF_TICKS = 64


@dg.asset(
    key=["dashboard", "model_metric_events"],
    deps=[leaderboard],
    partitions_def=recipes,
    group_name="dashboard",
    kinds={"python"},
    owners=[OWNER],
    # Two runs at once would each publish what the other is about to acknowledge.
    pool="publish",
)
def model_metric_events(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult[None]:
    """Publish each leaderboard's scores to every dashboard, in order, until it acknowledged.

    An acknowledgement (HTTP 200) is recorded as soon as it is there, one for each dashboard; one
    that does not answer holds up no other.
    """
    settings, instance = workspace.settings, context.instance
    partition = context.partition_key
    if not settings.dashboards:
        raise dg.Failure(
            "no dashboard to publish to: set CIS490_DASHBOARD_URL", allow_retries=False
        )
    delivered, n_events, without, failures = 0, 0, 0, []
    for url in settings.dashboards:
        publisher = Publisher(url, settings.dashboard_token)
        last = acknowledged(instance, context.asset_key, partition, url)
        for event in owed(instance, leaderboard.key, partition, last):
            events = events_of(instance, leaderboard.key, partition, event)
            try:
                delivered += publisher.publish(events) if events else 0
            except EventError as error:
                # Later ones must not overtake this one.
                failures.append(str(error))
                break
            n_events += len(events)
            without += event.scores is None
            last = acknowledge(instance, context.asset_key, partition, url, event, last)
    if failures:
        raise dg.Failure("; ".join(failures), allow_retries=False)
    return dg.MaterializeResult(
        metadata={
            "events": n_events,
            "delivered": delivered,
            "dashboards": len(settings.dashboards),
            "leaderboards_without_scores": without,
            PUBLISHED_TO: newest_storage_id(instance, leaderboard.key, partition),
        }
    )


@dg.sensor(
    target=[model_metric_events],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def unpublished_scores(
    context: dg.SensorEvaluationContext,
) -> dg.SensorResult | dg.SkipReason:
    """Request a publication for each split of which some dashboard lacks a leaderboard."""
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
        failures = attempts(context.instance, tags)
        # The back-off doubles with each attempt that failed or was cancelled: 1, 2, 4 … ticks. A
        # dashboard that acknowledged something starts it anew: what is pending is then another.
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
    """Storage ids that each dashboard has not acknowledged; without those that lack none."""
    found = {}
    for url in dashboards:
        last = acknowledged(instance, model_metric_events.key, partition, url)
        ids = [event.storage_id for event in owed(instance, leaderboard.key, partition, last)]
        if ids:
            found[url] = ids
    return found

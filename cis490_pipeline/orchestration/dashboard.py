"""Scores to the dashboard: an asset that publishes, and a sensor that asks for it until it has.

Not ``@asset_sensor``: that drops events when several arrive between two ticks. This one compares
what was published with what exists, so nothing can be missed.
"""

import dagster as dg

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import EventError
from cis490_pipeline.events.contract import leaderboard_events
from cis490_pipeline.events.publisher import Publisher
from cis490_pipeline.experiment.leaderboard import Leaderboard
from cis490_pipeline.experiment.workspace import Workspace
from cis490_pipeline.orchestration.models import leaderboard
from cis490_pipeline.orchestration.partitions import recipes
from cis490_pipeline.store.files import read_json

PUBLISHED_TO = "published_to_storage_id"
"""Metadata key: the leaderboard event up to which the dashboard acknowledged."""

MAX_BACKOFF_TICKS = 64


@dg.asset(
    key=["dashboard", "model_metric_events"],
    deps=[leaderboard],
    partitions_def=recipes,
    group_name="dashboard",
    kinds={"python"},
)
def model_metric_events(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult[None]:
    """Publish the leaderboard's scores to the dashboard, and note up to which event it answered."""
    recipe = Recipe(context.partition_key)
    settings = workspace.settings
    if settings.dashboard_url is None:
        raise dg.Failure(
            "no dashboard to publish to: set CIS490_DASHBOARD_URL", allow_retries=False
        )
    newest = _newest_storage_id(context.instance, leaderboard.key, context.partition_key)
    record = Leaderboard(workspace, recipe).record()
    if record is None:
        raise dg.Failure(f"the leaderboard of {recipe} was never made", allow_retries=False)
    board = read_json(workspace.paths.leaderboard(recipe))
    events = leaderboard_events(board, record.digest[:12])
    try:
        delivered = Publisher(settings.dashboard_url, settings.dashboard_token).publish(events)
    except EventError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    return dg.MaterializeResult(
        metadata={"events": len(events), "delivered": delivered, PUBLISHED_TO: newest}
    )


@dg.sensor(
    target=[model_metric_events],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def unpublished_scores(
    context: dg.SensorEvaluationContext,
) -> dg.SensorResult | dg.SkipReason:
    """Request a publication for each split whose newest leaderboard no dashboard acknowledged."""
    if Settings.load().dashboard_url is None:
        return dg.SkipReason("CIS490_DASHBOARD_URL is not set: nothing to publish to")
    tick = int(context.cursor or "0") + 1
    requests = []
    for partition in recipes.get_partition_keys():
        newest = _newest_storage_id(context.instance, leaderboard.key, partition)
        if newest <= _published_to(context.instance, partition):
            continue
        failures = _failed_runs(context.instance, partition, newest)
        # The back-off doubles with each failure: 1, 2, 4 … ticks between attempts.
        if tick % min(2**failures, MAX_BACKOFF_TICKS):
            continue
        requests.append(
            dg.RunRequest(
                run_key=f"{partition}-{newest}-{failures}",
                partition_key=partition,
                tags={"cis490/leaderboard_event": str(newest)},
            )
        )
    return dg.SensorResult(run_requests=requests, cursor=str(tick))


def _newest_storage_id(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str) -> int:
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition]), limit=1
    ).records
    return records[0].storage_id if records else 0


def _published_to(instance: dg.DagsterInstance, partition: str) -> int:
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=model_metric_events.key, asset_partitions=[partition]),
        limit=1,
    ).records
    if not records or records[0].asset_materialization is None:
        return 0
    # A materialization reported by hand says nothing of a dashboard.
    noted = records[0].asset_materialization.metadata.get(PUBLISHED_TO)
    value = noted.value if noted is not None else None
    return value if isinstance(value, int) else 0


def _failed_runs(instance: dg.DagsterInstance, partition: str, newest: int) -> int:
    return instance.get_runs_count(
        dg.RunsFilter(
            tags={"cis490/leaderboard_event": str(newest), "dagster/partition": partition},
            statuses=[dg.DagsterRunStatus.FAILURE],
        )
    )

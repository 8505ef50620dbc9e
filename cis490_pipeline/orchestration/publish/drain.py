"""Leaderboards that a dashboard has not acknowledged yet, from Dagster's event log.

An event sensor drops events when several arrive between two ticks. Only acknowledgements are
stored, by storage id; what is still to be sent is the difference from what exists.
"""

from dataclasses import dataclass
from typing import Final

import dagster as dg
import msgspec

from cis490_pipeline.events.contract import Event, ModelMetric
from cis490_pipeline.orchestration.dagster_internals import run_storage_id
from cis490_pipeline.storage.json_text import Json

EVENTS: Final = "events"
"""Metadata key of a leaderboard's materialization: its events, as they were then."""
ACKNOWLEDGED: Final = "acknowledged"
"""Metadata key of the observations that say what a dashboard acknowledged."""
DASHBOARD: Final = "dashboard"
OVERLAP_S: Final = 600.0
"""Postgres gives ids when an event is written and shows it when it is committed: an event may turn
up behind one that was read before. So the last ten minutes are always read again."""
MAX_READ: Final = 200
"""Materializations published in one tick; the rest follows in the next."""
_MAX_OBSERVATIONS: Final = 1000


class Acknowledgement(msgspec.Struct, frozen=True):
    """What one dashboard acknowledged of one partition."""

    up_to: int = 0
    """Largest storage id."""
    at: float = 0.0
    """When the newest of these events was recorded, in seconds since 1970."""
    recent: tuple[int, ...] = ()
    """Storage ids acknowledged, of the ten minutes before ``at``."""


@dataclass(frozen=True)
class Unacknowledged:
    """One materialization that a dashboard has not acknowledged."""

    storage_id: int
    timestamp: float
    scores: list[dict[str, Json]] | None
    """Its events; None if it carries no scores, such as one reported by hand."""


def newest_storage_id(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str) -> int:
    """Return the storage id of a partition's newest materialization; 0 if there is none."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition]), limit=1
    ).records
    return records[0].storage_id if records else 0


def acknowledged(
    instance: dg.DagsterInstance, publisher: dg.AssetKey, partition: str, dashboard: str
) -> Acknowledgement:
    """Return what a dashboard acknowledged last."""
    cursor = None
    while True:
        page = instance.fetch_observations(
            dg.AssetRecordsFilter(asset_key=publisher, asset_partitions=[partition]),
            limit=_MAX_OBSERVATIONS,
            cursor=cursor,
        )
        for record in page.records:
            observation = record.asset_observation
            metadata = observation.metadata if observation is not None else {}
            if DASHBOARD in metadata and metadata[DASHBOARD].value == dashboard:
                return msgspec.convert(metadata[ACKNOWLEDGED].value, type=Acknowledgement)
        if not page.has_more:
            return Acknowledgement()
        cursor = page.cursor


def unacknowledged(
    instance: dg.DagsterInstance, source: dg.AssetKey, partition: str, last: Acknowledgement
) -> list[Unacknowledged]:
    """Return what a dashboard has not acknowledged, in the order of storage ids."""
    newer = dg.AssetRecordsFilter(
        asset_key=source, asset_partitions=[partition], after_storage_id=last.up_to
    )
    records = {
        record.storage_id: record
        for record in instance.fetch_materializations(newer, MAX_READ, ascending=True).records
    }
    if last.up_to:
        overlap = dg.AssetRecordsFilter(
            asset_key=source,
            asset_partitions=[partition],
            after_timestamp=last.at - OVERLAP_S,
            before_storage_id=last.up_to,
        )
        for record in instance.fetch_materializations(overlap, MAX_READ).records:
            if record.storage_id not in last.recent:
                records[record.storage_id] = record
    pending = []
    for storage_id, record in sorted(records.items()):
        materialization = record.asset_materialization
        scores = materialization.metadata.get(EVENTS) if materialization else None
        events = scores.value if scores and isinstance(scores.value, list) else None
        pending.append(Unacknowledged(storage_id, record.timestamp, events))
    return pending


def acknowledge(
    instance: dg.DagsterInstance,
    publisher: dg.AssetKey,
    partition: str,
    dashboard: str,
    event: Unacknowledged,
    last: Acknowledgement,
) -> Acknowledgement:
    """Record at once that a dashboard acknowledged an event, whatever becomes of the tick.

    Returns
    -------
    What is now recorded.
    """
    at = max(last.at, event.timestamp)
    # Ids older than the overlap are never read again.
    recent = [*last.recent, event.storage_id]
    now = Acknowledgement(max(last.up_to, event.storage_id), at, tuple(recent[-MAX_READ:]))
    instance.report_runless_asset_event(
        dg.AssetObservation(
            publisher,
            partition=partition,
            metadata={
                DASHBOARD: dashboard,
                ACKNOWLEDGED: dg.MetadataValue.json(msgspec.to_builtins(now)),
            },
        )
    )
    return now


def events_of(
    instance: dg.DagsterInstance, source: dg.AssetKey, partition: str, event: Unacknowledged
) -> list[Event]:
    """Return a materialization's events, in the order of its instance's storage ids.

    ``event_id`` identifies the scores themselves, as ``produce metrics`` does; the storage id is
    the revision, so that an event committed or delivered late replaces nothing newer.
    """
    # Each storage has its own id, so that the publishers of two labs differ.
    publisher = f"{run_storage_id(instance)}/{source.to_user_string()}/{partition}"
    events = msgspec.convert(event.scores or [], type=list[ModelMetric])
    return [
        msgspec.structs.replace(scored, publisher=publisher, revision=event.storage_id)
        for scored in events
    ]

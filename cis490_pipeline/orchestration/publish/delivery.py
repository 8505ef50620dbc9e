"""Delivery of leaderboards to dashboards, within one tick of a sensor."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

import dagster as dg
import msgspec

from cis490_pipeline.errors import DashboardDownError, EventError
from cis490_pipeline.events.publisher import Publisher
from cis490_pipeline.orchestration.publish import drain

PUBLISHED_TO: Final = "published_to_storage_id"
"""Metadata key: the leaderboard event up to which every dashboard acknowledged."""
MAX_BACKOFF_TICKS: Final = 64
BUDGET_S: Final = 30.0
"""No request begins later in a tick: Dagster gives up on a tick after 60 s."""


class Cursor(msgspec.Struct, frozen=True):
    """State between ticks of the sensor."""

    tick: int = 0
    refusals: dict[str, int] = {}
    """Consecutive refusals of each split and dashboard that refused last."""

    @classmethod
    def read(cls, text: str | None) -> "Cursor":
        """Decode a cursor; a new one if there is none, or one of another version."""
        try:
            return msgspec.json.decode(text or "{}", type=cls)
        except msgspec.DecodeError:
            return cls()


class Delivery:
    """One tick's delivery: publishes what is not acknowledged, and collects what became of it.

    Attributes
    ----------
    notes : sentences on what was published and what waits.
    refused : messages of dashboards that refused and had not before.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        source: dg.AssetKey,
        target: dg.AssetKey,
        cursor: Cursor,
    ) -> None:
        """Deliver the events of asset ``source``; acknowledgements are recorded on ``target``."""
        self.notes: list[str] = []
        self.refused: list[str] = []
        self._instance, self._source, self._target = instance, source, target
        self._before, self._tick = cursor.refusals, cursor.tick + 1
        self._refusals: dict[str, int] = {}
        self._until = time.monotonic() + BUDGET_S
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)

    @property
    def cursor(self) -> str:
        """Cursor for the next tick."""
        return msgspec.json.encode(Cursor(self._tick, self._refusals)).decode()

    def to(self, publisher: Publisher, partitions: Sequence[str]) -> None:
        """Publish to one dashboard what it has not acknowledged, each partition in order.

        A dashboard that is down is asked again with the next tick; one that refuses a partition's
        events is asked again after 1, 2, 4 … ticks.
        """
        up = False
        for partition in partitions:
            last = drain.acknowledged(self._instance, self._target, partition, publisher.url)
            pending = drain.unacknowledged(self._instance, self._source, partition, last)
            if not pending:
                continue
            key = f"{partition} {publisher.url}"
            refusals = self._before.get(key, 0)
            if refusals:
                self._refusals[key] = refusals
            if self._tick % min(2**refusals, MAX_BACKOFF_TICKS):
                self.notes.append(f"{publisher.url} refused {partition}; asked again later")
                continue
            try:
                if not up:
                    publisher.require_up()
                    up = True
                self._publish(publisher, partition, pending, last)
            except DashboardDownError as down:
                self.notes.append(f"waiting: {down}")
                return
            except EventError as refusal:
                self._refusals[key] = refusals + 1
                self.notes.append(str(refusal))
                if not refusals:
                    self.refused.append(str(refusal))
            else:
                self._refusals.pop(key, None)

    def record(self, dashboards: tuple[str, ...]) -> None:
        """Record partitions that every dashboard has acknowledged now as materialized."""
        for partition, counts in self._counts.items():
            self.notes.append(f"published leaderboards of {partition}: {counts['leaderboards']}")
            if any(self._waits(url, partition) for url in dashboards):
                continue
            newest = drain.newest_storage_id(self._instance, self._source, partition)
            metadata: dict[str, int] = {
                "events": counts["events"],
                "delivered": counts["delivered"],
                "dashboards": len(dashboards),
                "leaderboards_without_scores": counts["leaderboards_without_scores"],
                PUBLISHED_TO: newest,
            }
            self._instance.report_runless_asset_event(
                dg.AssetMaterialization(self._target, partition=partition, metadata=metadata)
            )

    def _waits(self, url: str, partition: str) -> bool:
        last = drain.acknowledged(self._instance, self._target, partition, url)
        return bool(drain.unacknowledged(self._instance, self._source, partition, last))

    def _publish(
        self,
        publisher: Publisher,
        partition: str,
        pending: list[drain.Unacknowledged],
        last: drain.Acknowledgement,
    ) -> None:
        url = publisher.url
        for event in pending:
            if time.monotonic() > self._until:
                return
            # An error ends the loop: a later event must not overtake this one.
            events = drain.events_of(self._instance, self._source, partition, event)
            delivered = publisher.publish(events) if events else 0
            # At once, whatever becomes of the tick.
            last = drain.acknowledge(self._instance, self._target, partition, url, event, last)
            self._counts[partition].update(
                leaderboards=1,
                leaderboards_without_scores=int(event.scores is None),
                events=len(events),
                delivered=delivered,
            )

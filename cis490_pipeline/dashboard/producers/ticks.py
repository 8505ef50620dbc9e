"""Publish events periodically from a background thread, retrying until delivered."""

import logging
import threading
from collections.abc import Callable
from typing import Final

import click
import msgspec

from cis490_pipeline.errors import PipelineError
from cis490_pipeline.events.contract import Event
from cis490_pipeline.events.identity import Stamp
from cis490_pipeline.events.outbox import Outbox
from cis490_pipeline.events.publisher import Publisher

logger = logging.getLogger(__name__)

DEFAULT_URL: Final = "http://127.0.0.1:8447/publish"
_SLOT: Final = "all"


def print_events(events: list[Event]) -> None:
    """Print events as JSON, one a line."""
    for event in events:
        click.echo(msgspec.json.encode(event).decode())


def publish_on_ticks(
    make: Callable[[], list[Event]],
    publisher: Publisher,
    *,
    interval_s: float,
    stop: threading.Event | None = None,
    first_pause_s: float = 1.0,
) -> None:
    """Publish the events of ``make``, once or periodically.

    Parameters
    ----------
    make : returns all events of a tick; it may cache unchanged ones.
    interval_s : interval between ticks, s; 0 publishes once.
    first_pause_s : pause before the second attempt while the dashboard is down, s; doubles up to a
        minute.

    Raises
    ------
    PipelineError
        From the first tick; a later tick that fails is reported and skipped.
    EventError
        If events are published once and not accepted. Periodic publishing reports this and retries
        with the newest events.
    """
    if not interval_s:
        delivered = publisher.publish(events := Stamp().stamped(make()))
        logger.info("%d events accepted, %d passed on to browsers", len(events), delivered)
        return
    stop = stop or threading.Event()
    outbox = Outbox(publisher, logger.warning, first_pause_s=first_pause_s)
    try:
        outbox.put(make(), slot=_SLOT)
        while not stop.wait(interval_s):
            try:
                # In a slot: undelivered events of the last tick are outdated.
                outbox.put(make(), slot=_SLOT)
            except PipelineError as fault:
                # Files may be in the middle of a rewrite; the last events stay valid.
                logger.warning("tick skipped: %s", fault)
    finally:
        left = outbox.close()
        if left:
            logger.warning("%d events were not delivered", left)

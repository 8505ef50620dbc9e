"""Publishing on a tick: made anew each time, delivered in the background, never given up."""

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

DEFAULT_URL: Final = "http://127.0.0.1:8447/publish"
_SLOT: Final = "all"


def tell(text: str) -> None:
    """Say something to a person."""
    click.echo(text, err=True)


def print_events(events: list[Event]) -> None:
    """Print events as they would be sent, one a line."""
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
    """Publish what ``make`` gives, once or again and again.

    Parameters
    ----------
    make : gives all events of a tick; what is unchanged it may keep.
    publisher : of the dashboard.
    interval_s : between two ticks; 0 publishes once.
    stop : ends the ticks when it is set.
    first_pause_s : before the second attempt, if the dashboard is down; doubles up to a minute.

    Raises
    ------
    PipelineError
        Of the first tick; a later one that fails is told and left out.
    EventError
        If events are published once and the dashboard does not take them. On ticks it is told, and
        tried again: of what is newest nothing is lost.
    """
    if not interval_s:
        delivered = publisher.publish(events := Stamp().stamped(make()))
        tell(f"{len(events)} events taken, {delivered} passed on to browsers")
        return
    stop = stop or threading.Event()
    outbox = Outbox(publisher, tell, first_pause_s=first_pause_s)
    try:
        outbox.put(make(), slot=_SLOT)
        while not stop.wait(interval_s):
            try:
                # In a slot: what the last tick said and nobody took yet is out of date.
                outbox.put(make(), slot=_SLOT)
            except PipelineError as fault:
                # Files may be written anew just now; what was said before still stands.
                tell(f"this tick is left out: {fault}")
    finally:
        left = outbox.close()
        if left:
            tell(f"{left} events were not taken")

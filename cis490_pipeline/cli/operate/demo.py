"""``cis490 demo``: replay a recorded episode on the dashboard with twelve models."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import click

from cis490_pipeline.cli.dashboard_process import dashboard_process, free_port, open_browser
from cis490_pipeline.cli.options import opened_workspace, workspace_options
from cis490_pipeline.dashboard.producers.metrics import MetricEvents
from cis490_pipeline.dashboard.producers.options import (
    episode_option,
    simulate_option,
    speed_option,
)
from cis490_pipeline.dashboard.producers.perf import perf_events
from cis490_pipeline.dashboard.producers.places import Places
from cis490_pipeline.dashboard.producers.profiles import DEFAULT_CHANNELS, profile_events
from cis490_pipeline.dashboard.producers.replay import play, recording, replayed
from cis490_pipeline.dashboard.producers.scores import Scores
from cis490_pipeline.dashboard.producers.ticks import publish_on_ticks
from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import ConfigError, PipelineError
from cis490_pipeline.events.contract import Event
from cis490_pipeline.events.publisher import Publisher
from cis490_pipeline.experiment.order import corpus_stages, recipe_stages
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.experiment.stages.workspace import Workspace

logger = logging.getLogger(__name__)

_TICK_S: Final = 20.0
_PAUSE_S: Final = 8.0
_TIMED_WINDOWS: Final = 100


@click.command()
@episode_option
@simulate_option
@speed_option(3.0)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Port of the dashboard; default: 8447, or a free one.",
)
@click.option("--once", is_flag=True, help="Replay the episode once, then end.")
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
@workspace_options
def demo(
    name: str | None,
    made_up: int | None,
    speed: float,
    port: int | None,
    once: bool,
    no_browser: bool,
    **flags: Any,
) -> int:
    """Replay a recorded episode on the dashboard with the predictions of all twelve models.

    Missing models are trained first, which takes minutes. Prints the address and opens a browser if
    there is one. Runs until Ctrl-C.
    """
    with opened_workspace(flags) as workspace:
        data = workspace.settings.data
        if not isinstance(data, Path):
            raise ConfigError(f"the demo needs a local data folder, got {data}; use --data")
        _make_models(workspace)
    places = Places.of(str(Recipe.HOST), data_folder=data)
    with recording(workspace.store, name, made_up) as chosen:
        events = replayed(places, chosen, speed)
        ref = chosen.episode.ref
    with dashboard_process(port or free_port(), data) as url:
        publisher = Publisher(f"{url}publish", workspace.settings.dashboard_token)
        with _on_ticks(publisher, _feeds(places)):
            click.echo(f"dashboard: {url}   episode {ref} at {speed:g} times its pace")
            if not no_browser:
                open_browser(url)
            play(events, publisher, speed=speed, interval_s=0 if once else _PAUSE_S)
    return 0


def _make_models(workspace: Workspace) -> None:
    stages = (*corpus_stages(workspace), *recipe_stages(workspace, Recipe.HOST))
    make_stages(stages)


def _feeds(places: Places) -> list[Callable[[], list[Event]]]:
    """Return the producers that are published repeatedly; expensive ones measure once."""
    return [
        MetricEvents(Scores(places)).make,
        cache(lambda: perf_events(places, _TIMED_WINDOWS)),
        cache(lambda: list(profile_events(places, DEFAULT_CHANNELS))),
    ]


def _publish(feed: Callable[[], list[Event]], publisher: Publisher, stop: threading.Event) -> None:
    try:
        publish_on_ticks(feed, publisher, interval_s=_TICK_S, stop=stop)
    except PipelineError as fault:
        logger.warning("not shown: %s", fault)
    except KeyboardInterrupt:
        # Polars raises it in every waiting thread; the main thread ends the demo.
        stop.set()


@contextmanager
def _on_ticks(publisher: Publisher, feeds: list[Callable[[], list[Event]]]) -> Iterator[None]:
    stop = threading.Event()
    threads = [threading.Thread(target=_publish, args=(feed, publisher, stop)) for feed in feeds]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()

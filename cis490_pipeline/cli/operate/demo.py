"""``cis490 demo``: replay a recorded episode on the dashboard with twelve models."""

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import click

from cis490_pipeline.cli.options import opened_workspace, stderr, workspace_options
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
from cis490_pipeline.errors import ConfigError, EventError, PipelineError
from cis490_pipeline.events.contract import Event
from cis490_pipeline.events.publisher import Publisher
from cis490_pipeline.experiment.order import corpus_stages, recipe_stages
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.experiment.stages.stage import UP_TO_DATE
from cis490_pipeline.experiment.stages.workspace import Workspace

logger = logging.getLogger(__name__)

_PORT: Final = 8447
_START_S: Final = 30.0
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
    with _dashboard(port or _free_port(), data) as url:
        publisher = Publisher(f"{url}publish", workspace.settings.dashboard_token)
        with _on_ticks(publisher, _feeds(places)):
            click.echo(f"dashboard: {url}   episode {ref} at {speed:g} times its pace")
            if not no_browser:
                _open_browser(url)
            play(events, publisher, speed=speed, interval_s=0 if once else _PAUSE_S)
    return 0


def _make_models(workspace: Workspace) -> None:
    def announce(key: str, reason: str) -> None:
        if reason != UP_TO_DATE:
            stderr.print(f"made {key}", style="dim")

    stages = (*corpus_stages(workspace), *recipe_stages(workspace, Recipe.HOST))
    make_stages(stages, announce=announce)


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


@contextmanager
def _dashboard(port: int, data: Path) -> Iterator[str]:
    """Run the dashboard in its own process; yields its address once it answers."""
    url = f"http://127.0.0.1:{port}/"
    arguments = ["dashboard", "--port", str(port), "--data", str(data)]
    # Own process group: Ctrl-C goes to the replay, which then ends the dashboard.
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
        [sys.executable, "-m", "cis490_pipeline", *arguments], start_new_session=True
    )
    try:
        _wait_until_it_answers(process, url)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        health = f"{url}healthz"
        with contextlib.suppress(OSError), urllib.request.urlopen(health, timeout=2):  # noqa: S310
            return
        time.sleep(0.1)
    ended = process.poll()
    state = f"ended with code {ended}" if ended is not None else f"did not answer in {_START_S:g} s"
    raise EventError(f"the dashboard at {url} {state}; see above, or choose another --port")


def _free_port() -> int:
    """Return the dashboard's default port, or any free one if it is taken."""
    for wanted in (_PORT, 0):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", wanted)) as probe:
            return int(probe.getsockname()[1])
    raise ConfigError("no free port on 127.0.0.1")


def _open_browser(url: str) -> None:
    """Open a graphical browser, if there is one; a text browser would take over the terminal."""
    has_windows = sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if has_windows:
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(url)

"""Replay an episode on a dashboard: ``python -m cis490_pipeline.dashboard.producers.replay``."""

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from cis490_pipeline.config import Settings
from cis490_pipeline.dashboard.producers.embedding import EmbeddingMap, fit_map
from cis490_pipeline.dashboard.producers.options import (
    ProducerCommand,
    episode_option,
    publish_options,
    publisher_of,
    run_alone,
    simulate_option,
    speed_option,
    split_options,
)
from cis490_pipeline.dashboard.producers.perf import device_name
from cis490_pipeline.dashboard.producers.places import Places
from cis490_pipeline.dashboard.producers.scores import MAX_WHY, require_named
from cis490_pipeline.dashboard.producers.ticks import print_events
from cis490_pipeline.dashboard.producers.timeline import Timed, live_reports, timeline
from cis490_pipeline.domain import Address, EpisodeRef
from cis490_pipeline.domain.terms import model_name
from cis490_pipeline.errors import CheckpointError, EventError, PipelineError, StoreError
from cis490_pipeline.events.contract import ModelFailure
from cis490_pipeline.events.outbox import Outbox
from cis490_pipeline.events.publisher import Publisher
from cis490_pipeline.live.loading import LoadedModels, load_models
from cis490_pipeline.simulation.episode import (
    EpisodeSpec,
    received_at_wall,
    simulate_episode,
)
from cis490_pipeline.store.episode import Episode, load_episode
from cis490_pipeline.store.metadata import SCHEMA_VERSION
from cis490_pipeline.store.receiver import LocalStore, ReceiverStore
from cis490_pipeline.store.receiver_index import IndexRow
from cis490_pipeline.store.remote import open_store

logger = logging.getLogger(__name__)

SIMULATED_HOST: Final = "sim-alder"
_STEP_S: Final = 0.1


@dataclass(frozen=True)
class Recording:
    """Episode, and the path of its files on this machine."""

    episode: Episode
    path: Path
    simulated: bool


@click.command(cls=ProducerCommand)
@episode_option
@simulate_option
@click.option("--store", metavar="PLACE", help="Receiver store: a folder or an address.")
@split_options(must_exist=True)
@speed_option(1.0)
@publish_options
def replay(
    name: str | None,
    made_up: int | None,
    store: str | None,
    places: Places,
    speed: float,
    publish_url: str | None,
    interval_s: float,
    dry_run: bool,
) -> int:
    """Replay an episode: phases, telemetry, and every model's predictions at the earliest time.

    Predictions of a window follow 2 s after its end, as on a device. --interval is the pause before
    the episode repeats; 0 replays it once.
    """
    opened = open_store(_store_place(store, places))
    with recording(opened, name, made_up) as chosen:
        events = replayed(places, chosen, speed)
    if dry_run:
        print_events([timed.event for timed in events])
        return 0
    logger.info("replaying %s at %g times real time", chosen.episode.ref, speed)
    play(events, publisher_of(publish_url), speed=speed, interval_s=interval_s)
    return 0


def _store_place(flag: str | None, places: Places) -> Path | Address:
    """Return the store of the settings, or the sample beside the given checkpoints."""
    store = Settings.load(store=flag).store
    beside = places.artifacts.parent.parent / "sample"
    missing = isinstance(store, Path) and store == Settings().store and not store.is_dir()
    return beside if flag is None and missing and beside.is_dir() else store


def replayed(places: Places, chosen: Recording, speed: float) -> list[Timed]:
    """Run every trained model on an episode, and order all events by the time they are known.

    Raises
    ------
    CheckpointError
        If there is no trained model, or all are damaged; a damaged one among others is published
        as failed.
    StoreError
        If a line of the episode is no row.
    """
    models, failures = _models(places)
    maps = _maps(places, models)
    reports = live_reports(chosen.path, models, chosen.episode.t0_ns)
    first, *others = timeline(
        chosen.episode, reports, maps, models, speed=speed, simulated=chosen.simulated
    )
    return [first, *(Timed(0.0, failure) for failure in failures), *others]


def play(
    events: Sequence[Timed],
    publisher: Publisher,
    *,
    speed: float,
    interval_s: float,
    stop: threading.Event | None = None,
    clock: Callable[[], float] = time.monotonic,
    close_s: float = 10.0,
) -> None:
    """Publish events at their times, once or repeatedly.

    Parameters
    ----------
    publisher : client of the dashboard; while it is down, the newest events wait.
    interval_s : pause before the next repetition, s; 0 plays once.
    close_s : seconds to deliver what is left at the end.

    Raises
    ------
    EventError
        If some events were not delivered.
    """
    stop = stop or threading.Event()
    outbox = Outbox(publisher, logger.warning)
    try:
        while not stop.is_set():
            _play_once(events, outbox, speed, stop, clock)
            if not interval_s:
                break
            stop.wait(interval_s)
    finally:
        left = outbox.close(close_s)
    if left or outbox.n_dropped:
        raise EventError(
            f"{left} events of the replay were not delivered to {publisher.url}, and "
            f"{outbox.n_dropped} dropped; is a dashboard running there?"
        )


def _play_once(
    events: Sequence[Timed],
    outbox: Outbox,
    speed: float,
    stop: threading.Event,
    clock: Callable[[], float],
) -> None:
    began, place = clock(), 0
    while place < len(events) and not stop.is_set():
        now_s = (clock() - began) * speed
        due = place
        while due < len(events) and events[due].t_s <= now_s:
            due += 1
        if due > place:
            outbox.put([timed.event for timed in events[place:due]])
            place = due
        else:
            stop.wait(min(_STEP_S, (events[due].t_s - now_s) / speed))


@contextmanager
def recording(store: ReceiverStore, name: str | None, seed: int | None) -> Iterator[Recording]:
    """Yield an episode of the store, or a simulated one, with its files.

    Raises `StoreError` if the store has no such episode, or none with an infection to choose, and
    `EpisodeRejectedError` if it is rejected.
    """
    if seed is not None:
        with tempfile.TemporaryDirectory() as folder:
            yield _simulated(Path(folder), seed)
        return
    index = store.read_index()
    ref = _named(store, name) if name is not None else _chosen(store)
    with store.reading(ref) as reading:
        if reading.path is None:
            raise StoreError(f"{store.name}: no files of {ref}")
        yield Recording(load_episode(store, ref, index.rows.get(ref)), reading.path, False)


def _simulated(folder: Path, seed: int) -> Recording:
    spec = EpisodeSpec(seed=seed, number=0, host_id=SIMULATED_HOST, infected=True)
    draft = simulate_episode(spec)
    path = folder / "episodes" / draft.ref.host_id / draft.ref.episode_id
    path.mkdir(parents=True)
    for member, content in draft.members().items():
        (path / member).write_bytes(content)
    row = IndexRow(
        ref=draft.ref,
        received_at_wall=received_at_wall(spec.number),
        sha256=None,
        bytes=None,
        schema_version=SCHEMA_VERSION,
    )
    episode = load_episode(LocalStore(folder), draft.ref, row)
    return Recording(episode, path, True)


def _named(store: ReceiverStore, name: str) -> EpisodeRef:
    host, _, episode_id = name.partition("/")
    ref = EpisodeRef(host, episode_id)
    known = sorted({*store.read_index().rows, *store.listed()})
    if ref not in known:
        raise StoreError(
            f"{store.name}: no episode {name!r}; name one as HOST/ULID, such as "
            f"{known[0] if known else 'none: the store is empty'}"
        )
    return ref


def _chosen(store: ReceiverStore) -> EpisodeRef:
    """Choose the newest sound episode with an infection."""
    index = store.read_index()
    newest = sorted(index.rows, key=lambda ref: index.rows[ref].received_at_wall, reverse=True)
    for ref in newest:
        try:
            episode = load_episode(store, ref, index.rows[ref])
        except PipelineError:
            # Rejected or removed: try the next.
            continue
        if len({label.phase for label in episode.labels}) >= 4:
            return ref
    raise StoreError(f"{store.name}: no sound episode with an infection; try --simulate 0")


def _models(places: Places) -> tuple[LoadedModels, list[ModelFailure]]:
    """Open all trained models; damaged ones become failures with their reason."""
    folders = {places.artifacts / model_name(*model): str(model[1]) for model in places.models()}
    trained = [folder for folder in folders if folder.is_dir()]
    if not trained:
        raise CheckpointError(f"{places.artifacts}: no trained model; run cis490 run first")
    faults = {folder: why for folder in trained if (why := _fault(folder)) is not None}
    for folder, why in faults.items():
        logger.warning("failed: %s: %s", folder.name, why)
    whole = [folder for folder in trained if folder not in faults]
    if not whole:
        raise CheckpointError(f"{places.artifacts}: all {len(trained)} models are damaged")
    n_untrained = len(folders) - len(trained)
    logger.info(
        "%d models replay, %d failed, %d are not trained", len(whole), len(faults), n_untrained
    )
    device = device_name()
    failures = [
        ModelFailure(
            model=folder.name,
            why=why[:MAX_WHY],
            split=places.recipe,
            variant=folders[folder],
            device=device,
        )
        for folder, why in faults.items()
    ]
    return load_models(whole), failures


def _fault(folder: Path) -> str | None:
    try:
        require_named(folder, load_models([folder]).runnable[0].manifest)
    except (PipelineError, OSError) as fault:
        return str(fault)
    return None


def _maps(places: Places, models: LoadedModels) -> dict[str, EmbeddingMap]:
    """Fit each model's embedding; report models without one, which are shown without points."""
    maps: dict[str, EmbeddingMap] = {}
    for model in models.runnable:
        dataset = places.tensors if model.schema.kind == "tensor" else places.summary
        try:
            maps[model.name] = fit_map(model, places.artifacts / model.name, dataset)
        except PipelineError as fault:
            logger.warning("%s: no embedding: %s", model.name, fault)
    return maps


if __name__ == "__main__":
    run_alone(replay)

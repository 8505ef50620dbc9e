"""Timeline of an episode: all its events, each with the second of its publication."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from cis490_pipeline.dashboard.producers.embedding import EmbeddingMap
from cis490_pipeline.domain import NS_PER_S, PHASES, Phase
from cis490_pipeline.errors import StoreError
from cis490_pipeline.events.contract import (
    Embedding,
    Episode,
    Event,
    PhaseNow,
    PhaseSpan,
)
from cis490_pipeline.features.resample import GRID_HZ, episode_grid, step_count
from cis490_pipeline.features.windows import WINDOW_S, window_labels
from cis490_pipeline.live.calibration import Baseline
from cis490_pipeline.live.clocks.timeline import GRACE_S
from cis490_pipeline.live.engine import LiveEngine
from cis490_pipeline.live.feeds.folder import ArchiveFeed, FolderFeed
from cis490_pipeline.live.feeds.rows import LiveRow
from cis490_pipeline.live.loading import LoadedModels
from cis490_pipeline.live.models import RawWindow
from cis490_pipeline.live.outputs.publishing import prediction, telemetry
from cis490_pipeline.live.outputs.reports import WindowReport
from cis490_pipeline.store.episode import Episode as Recorded

TELEMETRY_STEPS: Final = 2
"""Steps of 0.1 s per published reading: five readings a second."""


@dataclass(frozen=True)
class Timed:
    """Event, and the second of the episode at which it is known."""

    t_s: float
    event: Event


def live_reports(path: Path, models: LoadedModels, start_ns: int) -> list[WindowReport]:
    """Run live inference on a whole episode, without waiting; alarms are reset first.

    Raises `StoreError` if a line is not a row: only sound episodes are replayed.
    """
    feed = FolderFeed(path) if path.is_dir() else ArchiveFeed(path)
    for model in models.models:
        if model.alarm is not None:
            model.alarm.reset()
    engine = LiveEngine(
        models.models, check=models.check, start_ns=lambda: start_ns, name=feed.name
    )
    reports: list[WindowReport] = []
    try:
        while not feed.ended:
            for arrival in feed.poll(0):
                if not isinstance(arrival, LiveRow):
                    raise StoreError(f"{path}: {arrival}; replay an episode that is sound")
                reports += engine.feed(arrival, 0)
    finally:
        feed.close()
    return [*reports, *engine.finish()]


def timeline(
    episode: Recorded,
    reports: Sequence[WindowReport],
    maps: Mapping[str, EmbeddingMap],
    models: LoadedModels,
    *,
    speed: float,
    simulated: bool,
) -> list[Timed]:
    """Order all events of an episode by time.

    The true phases are the episode's labels. Reports of its windows are known 2 s after the
    window's end, as on a device. Models without an embedding get no points.
    """
    names = [model.name for model in models.models]
    events = [
        Timed(0.0, _episode_event(episode, names, speed, simulated=simulated)),
        *_phases(episode),
        *_telemetry(episode),
        *_windows(episode, reports, maps, models),
    ]
    end_s = _seconds(episode, episode.end_ns)
    last_s = max(timed.t_s for timed in events)
    ended = Episode(episode_id=episode.ref.episode_id, state="ended")
    return [*sorted(events, key=lambda timed: timed.t_s), Timed(max(last_s, end_s), ended)]


def _seconds(episode: Recorded, t_ns: int) -> float:
    return (t_ns - episode.t0_ns) / NS_PER_S


def _episode_event(
    episode: Recorded, models: list[str], speed: float, *, simulated: bool
) -> Episode:
    starts = [_seconds(episode, label.t_wall_ns) for label in episode.labels]
    ends = [*starts[1:], _seconds(episode, episode.end_ns)]
    phases = [str(label.phase) for label in episode.labels]
    infecting = [t for t, phase in zip(starts, phases, strict=True) if phase == Phase.INFECTING]
    sample = episode.meta.sample
    return Episode(
        episode_id=episode.ref.episode_id,
        host_id=episode.ref.host_id,
        profile=sample.profile if sample else None,
        sample_name=sample.name if sample else None,
        duration_s=_seconds(episode, episode.end_ns),
        phases=[
            PhaseSpan(phase=phase, start_s=a, end_s=b)
            for phase, a, b in zip(phases, starts, ends, strict=True)
        ],
        infection_s=infecting[0] if infecting else None,
        state="running",
        origin="simulated" if simulated else "replay",
        speed=speed,
        models=models,
    )


def _phases(episode: Recorded) -> Iterator[Timed]:
    for label in episode.labels:
        t_s = _seconds(episode, label.t_wall_ns)
        event = PhaseNow(phase=str(label.phase), episode_id=episode.ref.episode_id, t_s=t_s)
        yield Timed(t_s, event)


def _telemetry(episode: Recorded) -> Iterator[Timed]:
    grid = episode_grid(episode.columns, episode.t0_ns, step_count(episode.t0_ns, episode.end_ns))
    for first in range(0, len(grid) - GRID_HZ + 1, GRID_HZ):
        second = grid[first : first + GRID_HZ]
        event = telemetry(episode.ref.episode_id, second, first / GRID_HZ, TELEMETRY_STEPS)
        yield Timed((first + GRID_HZ) / GRID_HZ, event)


def _windows(
    episode: Recorded,
    reports: Sequence[WindowReport],
    maps: Mapping[str, EmbeddingMap],
    models: LoadedModels,
) -> Iterator[Timed]:
    if not reports:
        return
    starts = np.array([round(report.t_s * GRID_HZ) for report in reports], dtype=np.int64)
    y, _ = window_labels(
        [label.t_wall_ns for label in episode.labels],
        [str(label.phase) for label in episode.labels],
        episode.t0_ns,
        episode.end_ns,
        starts,
    )
    baseline = _baseline(episode)
    live = {model.name: model for model in models.models}
    for report, truth in zip(reports, y, strict=True):
        known_s = report.t_s + WINDOW_S + GRACE_S
        actual = str(PHASES[int(truth)])
        window = RawWindow(report.seen)
        for out in report.outputs:
            event = prediction(report, out, episode.ref.episode_id, episode.ref.host_id, actual)
            if event is None:
                continue
            yield Timed(known_s, event)
            if out.model in maps:
                X = live[out.model].calibrated(window, baseline)
                x, y_ = maps[out.model].place(X)[0]
                point = Embedding(
                    x=float(x),
                    y=float(y_),
                    phase=actual,
                    predicted=event.predicted,
                    model=event.model,
                    episode_id=event.episode_id,
                    window_idx=event.window_idx,
                )
                yield Timed(known_s, point)


def _baseline(episode: Recorded) -> Baseline:
    grid = episode_grid(episode.columns, episode.t0_ns, 150)
    return Baseline.of_grid(grid, None, episode.ref.episode_id)

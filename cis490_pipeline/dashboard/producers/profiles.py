"""Publish attack profiles: ``python -m cis490_pipeline.dashboard.producers.profiles``."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypedDict, cast

import click
import numpy as np
import numpy.typing as npt

from cis490_pipeline.dashboard.producers.options import (
    ProducerCommand,
    publish,
    publish_options,
    run_alone,
    split_options,
)
from cis490_pipeline.dashboard.producers.places import Places
from cis490_pipeline.domain import CHANNELS, Kind, Phase
from cis490_pipeline.domain.arrays import Floats
from cis490_pipeline.errors import ConfigError, DatasetError
from cis490_pipeline.events.contract import AttackProfile, Event
from cis490_pipeline.events.identity import identified
from cis490_pipeline.features.channels import POSITION
from cis490_pipeline.features.datasets.opened import open_dataset
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.resample import GRID_HZ, STEP_NS
from cis490_pipeline.storage.parquet import read_table

logger = logging.getLogger(__name__)

BEFORE_S: Final = 20
AFTER_S: Final = 40
DEFAULT_CHANNELS: Final = (
    "netflow.pkts_out",
    "netflow.new_flows",
    "netflow.bytes_out",
    "guest.cpu_user",
    "guest.ctxt",
    "guest.mem_dirty_bytes",
)
MIN_EPISODES: Final = 2
"""Fewest episodes for quartiles."""


@dataclass(frozen=True, eq=False)
class Course:
    """Quartiles of one channel over aligned episodes, (n_seconds,) each; NaN is unknown."""

    low: Floats
    median: Floats
    high: Floats
    n_episodes: int


def aligned(
    grid: npt.NDArray[np.float32],
    t0_ns: int,
    label_t_ns: Sequence[int],
    phases: Sequence[str],
    at: Phase,
) -> Floats | None:
    """Cut an episode around the first start of a phase, at one value a second.

    Parameters
    ----------
    grid : (n_steps, 46) log1p values from ``t0_ns`` on.
    label_t_ns, phases : the episode's labels.

    Returns
    -------
    (60, 46) means per second in the channels' own units, from 20 s before to 40 s after; NaN where
    nothing is known or beyond the episode. None if it has no such phase.
    """
    starts = [t for t, phase in zip(label_t_ns, phases, strict=True) if phase == at]
    if not starts:
        return None
    n_seconds = BEFORE_S + AFTER_S
    first = round((starts[0] - t0_ns) / STEP_NS) - BEFORE_S * GRID_HZ
    cut = np.full((n_seconds * GRID_HZ, grid.shape[1]), np.nan)
    begin, end = max(first, 0), min(first + len(cut), len(grid))
    if begin < end:
        cut[begin - first : end - first] = np.expm1(grid[begin:end].astype(np.float64))
    by_second = cut.reshape(n_seconds, GRID_HZ, -1)
    known = np.isfinite(by_second)
    total = np.where(known, by_second, 0.0).sum(axis=1)
    count = known.sum(axis=1)
    means: Floats = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return means


def course_of(episodes: Sequence[Floats]) -> Course:
    """Median and quartiles over the episodes with a known value, (n_seconds,) each."""
    stacked = np.stack(episodes)
    known = np.isfinite(stacked).sum(axis=0) >= MIN_EPISODES
    filled = np.where(known, stacked, 0.0)
    low, median, high = np.nanpercentile(filled, [25, 50, 75], axis=0)
    low, median, high = (np.where(known, q, np.nan) for q in (low, median, high))
    return Course(low, median, high, len(stacked))


@click.command(cls=ProducerCommand)
@split_options(must_exist=True)
@click.option(
    "--channel",
    "channels",
    multiple=True,
    default=DEFAULT_CHANNELS,
    show_default=True,
    help="Channel to draw; may be repeated.",
)
@publish_options
def profiles(
    places: Places,
    channels: tuple[str, ...],
    publish_url: str | None,
    interval_s: float,
    dry_run: bool,
) -> int:
    """Publish attack profiles: median and quartiles of episodes aligned at infecting.

    Uses all usable episodes of the split's index; channels in their own units, one value a second.
    """
    unknown = sorted(set(channels) - POSITION.keys())
    if unknown:
        raise ConfigError(f"no channels {unknown}; there are {', '.join(POSITION)}")

    def make() -> list[Event]:
        return list(profile_events(places, channels))

    publish(make, publish_url, interval_s=interval_s, dry_run=dry_run)
    return 0


def profile_events(places: Places, channels: Sequence[str]) -> Iterator[Event]:
    """Yield one event for each profile and channel.

    Raises `DatasetError` if the index or the grids are missing or changed.
    """
    if not places.validation.is_file():
        raise DatasetError(f"{places.validation}: no such file; make it with cis490 run")
    index = read_table(places.validation, columns=["episode_id", "profile"])
    manifest = open_dataset(places.tensors, "tensor").manifest
    grids = GridStore(places.tensors / manifest.grids_folder)
    rows = grids.frame.join(index.drop_nulls("profile"), on="episode_id").sort("episode_id")
    for (profile,), of_profile in rows.group_by("profile", maintain_order=True):
        cuts = [
            cut
            for row in of_profile.iter_rows(named=True)
            if (cut := _cut(grids, cast(_Row, row))) is not None
        ]
        if len(cuts) < MIN_EPISODES:
            logger.warning(
                "%s: not published, since %d episodes reach %s, wanted %d",
                profile,
                len(cuts),
                Phase.INFECTING,
                MIN_EPISODES,
            )
            continue
        for channel in channels:
            place = POSITION[channel]
            event = _event(str(profile), channel, course_of([cut[:, place] for cut in cuts]))
            yield identified(
                event,
                instance=manifest.split_digest,
                recipe=places.recipe,
                model=f"{profile}/{channel}",
            )


class _Row(TypedDict):
    episode_id: str
    t0_wall_ns: int
    label_t_wall_ns: list[int]
    label_phase: list[str]


def _cut(grids: GridStore, row: _Row) -> Floats | None:
    t0_ns, times, phases = row["t0_wall_ns"], row["label_t_wall_ns"], row["label_phase"]
    return aligned(grids.grid(row["episode_id"]), t0_ns, times, phases, Phase.INFECTING)


def _event(profile: str, channel: str, course: Course) -> AttackProfile:
    about = CHANNELS[POSITION[channel]]
    unit = about.unit if about.kind is Kind.GAUGE else f"{about.unit}/s"
    low, median, high = (_values(curve) for curve in (course.low, course.median, course.high))
    return AttackProfile(
        name=profile,
        shape="median",
        curve=[*median],
        low=low,
        high=high,
        t_start_s=-float(BEFORE_S),
        step_s=1.0,
        channel=channel,
        unit=unit,
        aligned_at=str(Phase.INFECTING),
        n_episodes=course.n_episodes,
    )


def _values(curve: Floats) -> list[float | None]:
    return [None if np.isnan(value) else float(f"{value:.6g}") for value in curve]


if __name__ == "__main__":
    run_alone(profiles)

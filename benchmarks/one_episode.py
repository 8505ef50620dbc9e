"""CPU time of one episode: reading, judging and extracting, beside floors and peers."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import zstandard

from benchmarks import peers
from benchmarks.lengthened import lab_sized
from benchmarks.measuring import Line, at_least, at_most, interleaved, median_ms, ratio
from benchmarks.stores import (
    SAMPLE,
    Episodes,
    members_of,
    packed_store,
    sound_refs,
    unpacked_store,
)
from cis490_pipeline.domain import EpisodeRef
from cis490_pipeline.features.baseline import baseline_statistics
from cis490_pipeline.features.resample import episode_grid, step_count
from cis490_pipeline.features.summary import summarize
from cis490_pipeline.features.windows import cut_windows, window_labels, window_starts
from cis490_pipeline.store.archive.unpack import read_members
from cis490_pipeline.store.episode import Episode, load_episode, open_episode, sound_episode
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.verdicts.validate import judge_episode, validate_episode


def _extract(episode: Episode) -> None:
    """Make what the datasets hold: grid, baseline, labels, summaries; a tensor is a part of it."""
    n_steps = step_count(episode.t0_ns, episode.end_ns)
    grid = episode_grid(episode.columns, episode.t0_ns, n_steps)
    baseline_statistics(grid)
    starts = window_starts(n_steps)
    times = [label.t_wall_ns for label in episode.labels]
    phases = [str(label.phase) for label in episode.labels]
    window_labels(times, phases, episode.t0_ns, episode.end_ns, starts)
    summarize(cut_windows(grid, starts))


class _Episodes:
    """Episodes of one store, and everything that can be done to all of them."""

    def __init__(self, store: LocalStore, refs: list[EpisodeRef]) -> None:
        self.store = store
        self.rows = store.read_index().rows
        self.refs = refs
        self.paths = [path for ref in refs if (path := store.path(ref)) is not None]

    def validate_and_extract(self) -> None:
        """From one reading: the verdict, and what is kept of the rows."""
        for ref in self.refs:
            opened = open_episode(self.store, ref, self.rows[ref])
            judge_episode(opened, self.rows[ref])
            _extract(sound_episode(opened))

    def in_two_stages(self) -> None:
        """As the stages do it, each reading the episode for itself."""
        for ref in self.refs:
            validate_episode(self.store, ref, self.rows[ref])
            _extract(load_episode(self.store, ref, self.rows[ref]))

    def floor_unpacked(self) -> None:
        for path in self.paths:
            for member in path.iterdir():
                hashlib.sha256(member.read_bytes()).digest()

    def floor_archive(self) -> None:
        """As one would: sha256 of the archive and of the bytes that come out of it."""
        for path in self.paths:
            archive = path.read_bytes()
            hashlib.sha256(archive).digest()
            tar = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(archive)).read()
            with tarfile.open(fileobj=io.BytesIO(tar)) as members:
                for member in members:
                    stream = members.extractfile(member)
                    if stream is not None:
                        hashlib.sha256(stream.read()).digest()


@dataclass(frozen=True)
class _Size:
    """Episodes of one size, packed and unpacked."""

    label: str
    packed: _Episodes
    unpacked: _Episodes
    contents: list[dict[str, bytes]]
    loaded: list[Episode]

    @classmethod
    def of(cls, label: str, folder: Path, episodes: Episodes) -> Self:
        refs = list(episodes)
        store = packed_store(folder / "packed", episodes)
        packed = _Episodes(store, refs)
        return cls(
            label,
            packed,
            _Episodes(unpacked_store(folder / "unpacked", episodes), refs),
            list(episodes.values()),
            [load_episode(store, ref, packed.rows[ref]) for ref in refs],
        )

    @property
    def megabytes(self) -> float:
        """Of one episode's members."""
        return sum(len(x) for c in self.contents for x in c.values()) / len(self.contents) / 1e6

    def grids(self) -> list[npt.NDArray[np.float32]]:
        return [
            episode_grid(e.columns, e.t0_ns, step_count(e.t0_ns, e.end_ns)) for e in self.loaded
        ]

    def peer(self) -> None:
        for path in self.packed.paths:
            read_members(path)
        for episode, members in zip(self.loaded, self.contents, strict=True):
            peers.careful_peer(episode, members)

    def works(self) -> dict[str, Callable[[], object]]:
        return {
            "unpacked": self.unpacked.validate_and_extract,
            "floor_unpacked": self.unpacked.floor_unpacked,
            "archive": self.packed.validate_and_extract,
            "floor_archive": self.packed.floor_archive,
            "two_stages": self.packed.in_two_stages,
            "peer": self.peer,
        }


def measure(scratch: Path, repetitions: int) -> tuple[list[Line], dict[str, float]]:
    """Return lines of the table, and figures in ms of CPU per episode.

    Figures of lab-sized episodes have names that begin with ``lab_``.
    """
    sample = LocalStore(SAMPLE)
    episodes = members_of(sample, sound_refs(sample)[::3])
    recorded = _Size.of("recorded", scratch / "recorded", episodes)
    lab = _Size.of("lab size", scratch / "lab", lab_sized(episodes))
    lines, figures = _reading(recorded, repetitions)
    lab_lines, lab_figures = _reading(lab, repetitions)
    more_lines, more_figures = _statistics(recorded, repetitions)
    figures |= {f"lab_{name}": value for name, value in lab_figures.items()}
    return [*lines, *lab_lines, *more_lines], figures | more_figures


def _reading(size: _Size, repetitions: int) -> tuple[list[Line], dict[str, float]]:
    """Compare reading, judging and extracting with the floors and the peer."""
    works = size.works()
    seconds = interleaved(works, repetitions=repetitions)
    figures = {name: median_ms(seconds, name, len(size.loaded)) for name in works}
    figures["megabytes"] = size.megabytes
    of = f"{size.label} ({size.megabytes:.2f} MB)"
    lines = [
        at_most(
            f"validate + extract, unpacked, by read + sha256, {of}",
            ratio(seconds, "unpacked", "floor_unpacked"),
            10,
            detail=_compared(figures, "unpacked", "floor_unpacked"),
        ),
        at_most(
            f"validate + extract, .tar.zst, by zstd + tar + sha256, {of}",
            ratio(seconds, "archive", "floor_archive"),
            5,
            detail=_compared(figures, "archive", "floor_archive"),
        ),
        at_least(
            f"careful peer (orjson, percentile) by validate + extract, {of}",
            ratio(seconds, "peer", "archive"),
            3,
            detail=_compared(figures, "peer", "archive"),
        ),
    ]
    return lines, figures


def _statistics(size: _Size, repetitions: int) -> tuple[list[Line], dict[str, float]]:
    """Compare the statistics of windows with tsflex's and with sorting alone."""
    grids = size.grids()
    cut = [cut_windows(grid, window_starts(len(grid))) for grid in grids]
    windows = np.concatenate(cut)
    works: dict[str, Callable[[], object]] = {
        "statistics": lambda: summarize(windows),
        "sort": lambda: np.sort(windows, axis=1),
    }
    seconds = interleaved(works, repetitions=repetitions)
    collection, few = peers.tsflex_collection(), range(2)
    series = [peers.tsflex_series(grids[i]) for i in few]
    ours_and_tsflex = interleaved(
        {
            "ours": lambda: [summarize(cut[i]) for i in few],
            "tsflex": lambda: [collection.calculate(frame, n_jobs=1) for frame in series],
        },
        repetitions=max(3, repetitions // 3),
    )
    figures = {name: median_ms(seconds, name, len(grids)) for name in works}
    figures["tsflex"] = median_ms(ours_and_tsflex, "tsflex", len(few))
    figures["windows"] = len(windows) / len(grids)
    lines = [
        at_least(
            "tsflex by the same statistics",
            ratio(ours_and_tsflex, "tsflex", "ours"),
            20,
            detail=f"{figures['tsflex']:.0f} ms to {figures['statistics']:.2f} ms",
        ),
        at_most(
            "statistics by np.sort of the windows",
            ratio(seconds, "statistics", "sort"),
            2,
            detail=_compared(figures, "statistics", "sort"),
        ),
    ]
    return lines, figures


def _compared(figures: dict[str, float], above: str, below: str) -> str:
    return f"{figures[above]:.2f} ms to {figures[below]:.2f} ms"

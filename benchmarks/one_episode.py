"""CPU time of one episode: reading, judging and extracting, beside floors and peers."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import zstandard

from benchmarks import peers
from benchmarks.measuring import Line, at_least, at_most, interleaved, median_ms, ratio
from benchmarks.stores import SAMPLE, sound_refs, unpacked_copy
from cis490_pipeline.domain import EpisodeRef
from cis490_pipeline.features.calibration import baseline_statistics
from cis490_pipeline.features.resample import episode_grid, step_count
from cis490_pipeline.features.summary import summarize
from cis490_pipeline.features.windows import cut_windows, window_labels, window_starts
from cis490_pipeline.store.archive import read_members
from cis490_pipeline.store.episode import Episode, load_episode, open_episode, sound_episode
from cis490_pipeline.store.layout import EpisodeStore
from cis490_pipeline.store.validate import judge_episode, validate_episode


def _extract(episode: Episode) -> None:
    """Make what the datasets hold: grid, baseline, labels, summaries; a tensor is a part of it."""
    n_steps = step_count(episode.t0_ns, episode.end_ns)
    grid = episode_grid(episode.rows, episode.t0_ns, n_steps)
    baseline_statistics(grid)
    starts = window_starts(n_steps)
    times = [label.t_wall_ns for label in episode.labels]
    phases = [str(label.phase) for label in episode.labels]
    window_labels(times, phases, episode.t0_ns, episode.end_ns, starts)
    summarize(cut_windows(grid, starts))


class _Episodes:
    """Episodes of one store, and everything that can be done to all of them."""

    def __init__(self, store: EpisodeStore, refs: list[EpisodeRef]) -> None:
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


def measure(scratch: Path, repetitions: int) -> tuple[list[Line], dict[str, float]]:
    """Return lines of the table, and figures in ms of CPU per episode."""
    sample = EpisodeStore(SAMPLE)
    refs = sound_refs(sample)[::3]
    packed = _Episodes(sample, refs)
    unpacked = _Episodes(unpacked_copy(sample, refs, scratch / "unpacked"), refs)
    episodes = [load_episode(sample, ref, packed.rows[ref]) for ref in refs]
    contents = [read_members(path) for path in packed.paths]
    grids = [episode_grid(e.rows, e.t0_ns, step_count(e.t0_ns, e.end_ns)) for e in episodes]
    cut = [cut_windows(grid, window_starts(len(grid))) for grid in grids]
    windows = np.concatenate(cut)

    def peer() -> None:
        for episode, members in zip(episodes, contents, strict=True):
            peers.careful_peer(episode, members)

    def peer_floor() -> None:
        for path in packed.paths:
            read_members(path)

    works = {
        "unpacked": unpacked.validate_and_extract,
        "floor_unpacked": unpacked.floor_unpacked,
        "archive": packed.validate_and_extract,
        "floor_archive": packed.floor_archive,
        "two_stages": packed.in_two_stages,
        "peer": lambda: (peer_floor(), peer()),
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
    n = len(refs)
    figures = {name: median_ms(seconds, name, n) for name in works}
    figures["tsflex"] = median_ms(ours_and_tsflex, "tsflex", len(few))
    figures["megabytes"] = sum(len(x) for c in contents for x in c.values()) / n / 1e6
    figures["windows"] = len(windows) / n

    def told(above: str, below: str) -> str:
        return f"{figures[above]:.2f} ms to {figures[below]:.2f} ms"

    lines = [
        at_most(
            "validate + extract, unpacked, by read + sha256",
            ratio(seconds, "unpacked", "floor_unpacked"),
            10,
            detail=told("unpacked", "floor_unpacked"),
        ),
        at_most(
            "validate + extract, .tar.zst, by zstd + tar + sha256",
            ratio(seconds, "archive", "floor_archive"),
            5,
            detail=told("archive", "floor_archive"),
        ),
        at_least(
            "careful peer (orjson, percentile) by validate + extract",
            ratio(seconds, "peer", "archive"),
            3,
            detail=told("peer", "archive"),
        ),
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
            detail=told("statistics", "sort"),
        ),
    ]
    return lines, figures

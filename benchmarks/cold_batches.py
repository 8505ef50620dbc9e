"""Batches from a corpus that is not in memory: block-shuffled against windows drawn at random."""

import ctypes
import mmap
import os
import statistics
import tempfile
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.made_grids import commit_grids
from benchmarks.measuring import Line, at_least, ratio
from cis490_pipeline.domain import Side, Variant
from cis490_pipeline.features.calibration.calibrator import CalibrationMode, Calibrator
from cis490_pipeline.features.channels import N_CHANNELS
from cis490_pipeline.features.datasets.build import build_tensor_dataset
from cis490_pipeline.features.datasets.load import load_windows
from cis490_pipeline.features.datasets.opened import open_dataset
from cis490_pipeline.features.datasets.window_data import WindowData
from cis490_pipeline.features.grids.store import (
    INDEX_SCHEMA,
    GridStore,
)
from cis490_pipeline.features.resample import STEP_NS
from cis490_pipeline.training.batches import batches, epoch_blocks, read_batches
from cis490_pipeline.training.config import TrainConfig

N_SHARDS = 48
SHARD_EPISODES = 256
EPISODE_STEPS = 900
N_BLOCK_BATCHES = 280
"""Five blocks: what is read ahead at the start is used later, as over an epoch."""
N_RANDOM_BATCHES = 60
"""Few, as each draws much of the corpus into the cache; later ones would not be cold."""
ROUNDS = 5
_WINDOW_BYTES = 100 * N_CHANNELS * 4
_PIECE = 4 << 20

Indices = np.ndarray


def measure(scratch: Path, figures: dict[str, float]) -> Line:
    """Compare reading the first batches of an epoch in blocks and fully at random, cache cold."""
    grids, dataset = made_corpus(scratch)
    config = TrainConfig()
    seconds: dict[str, list[float]] = {"blocks": [], "random": [], "single": [], "disk": []}
    shares = []
    n_bytes = sum(path.stat().st_size for path in grids.glob("*.npy"))
    n_windows = {
        "blocks": N_BLOCK_BATCHES * config.batch_size,
        "random": N_RANDOM_BATCHES * config.batch_size,
        "single": N_RANDOM_BATCHES * config.batch_size,
        "disk": n_bytes / _WINDOW_BYTES,
    }
    for epoch in range(1, ROUNDS + 1):
        for name, of_name in seconds.items():
            _evict(grids)
            # Reopened: pages that are still mapped would stay in the cache.
            windows = load_windows(open_dataset(dataset, "tensor"), Side.TRAIN, unit_calibrator())
            shares.append(_cached_share(grids))
            anywhere = np.random.default_rng(epoch).permutation(len(windows))
            start = time.perf_counter()
            if name == "blocks":
                blocks = epoch_blocks(
                    windows.episode_numbers,
                    seed=0,
                    epoch=epoch,
                    block_episodes=config.block_episodes,
                )
                # The order is drawn in memory; only what is read is timed.
                start = time.perf_counter()
                _take(windows, read_batches(windows, blocks, config.batch_size), N_BLOCK_BATCHES)
            elif name == "random":
                _take(windows, batches(anywhere, config.batch_size), N_RANDOM_BATCHES)
            elif name == "single":
                _single_reads(grids, anywhere[: N_RANDOM_BATCHES * config.batch_size])
            else:
                _read_through(grids)
            of_name.append((time.perf_counter() - start) / n_windows[name])
            if name == "random":
                figures["cold_random_cached_after"] = _cached_share(grids)
            del windows
    rate = {name: 1 / statistics.median(s) for name, s in seconds.items()}
    disk = rate["disk"] * _WINDOW_BYTES
    figures["cold_batch_ms"] = config.batch_size / rate["blocks"] * 1e3
    figures["cold_blocks_per_s"], figures["cold_random_per_s"] = rate["blocks"], rate["random"]
    figures["cold_single_per_s"], figures["disk_mb_per_s"] = rate["single"], disk / 1e6
    detail = (
        f"windows/s: blocks {rate['blocks']:,.0f}, random {rate['random']:,.0f} "
        f"(bare pread of each {rate['single']:,.0f}); disk in sequence {disk / 1e6:,.0f} MB/s "
        f"= {rate['disk']:,.0f} windows/s; {n_bytes / 1e9:.1f} GB, "
        f"{max(shares):.0%} cached before"
    )
    return at_least(
        "random access by block-shuffled batches, cold cache",
        ratio(seconds, "random", "blocks"),
        5,
        detail=detail,
    )


def made_corpus(scratch: Path) -> tuple[Path, Path]:
    """Write grid shards of noise and a tensor dataset on them; what is in them costs no time."""
    grids, dataset = scratch / "cold-grids", scratch / "cold-tensors"
    grids.mkdir(parents=True)
    noise = np.random.default_rng(0).random(
        (SHARD_EPISODES * EPISODE_STEPS, N_CHANNELS), dtype=np.float32
    )
    names = [f"shard-{n:05d}-made-up.npy" for n in range(N_SHARDS)]
    for n, name in enumerate(names):
        noise[:, 0] = n
        with (grids / name).open("wb") as file:
            np.save(file, noise)
            file.flush()
            # Only what is on disk can be put out of the cache.
            os.fsync(file.fileno())
    zeros = [0.0] * N_CHANNELS
    frame = pl.DataFrame(
        [
            {
                "episode_id": f"{shard:06d}{place:020d}",
                "host_id": f"host-{place % 5}",
                "sha256": f"{shard}-{place}",
                "shard": name,
                "row_start": place * EPISODE_STEPS,
                "n_steps": EPISODE_STEPS,
                "t0_wall_ns": 0,
                "end_wall_ns": EPISODE_STEPS * STEP_NS,
                "label_t_wall_ns": [0],
                "label_phase": ["clean"],
                "baseline_median": zeros,
                "baseline_iqr": zeros,
                "baseline_clean": True,
            }
            for shard, name in enumerate(names)
            for place in range(SHARD_EPISODES)
        ],
        schema=INDEX_SCHEMA,
    )
    commit_grids(grids, frame, names)
    index = frame.select("episode_id", "host_id").with_columns(
        profile=pl.lit("made-up"),
        sample_name=pl.lit(None, dtype=pl.String),
        side=pl.lit(str(Side.TRAIN)),
        scorable=pl.lit(True),
    )
    dataset.mkdir()
    build_tensor_dataset(GridStore(grids), index, dataset, split_digest="made-up")
    return grids, dataset


def unit_calibrator() -> Calibrator:
    """Calibrate as training does, at its cost, by numbers that change little."""
    ones = np.ones(N_CHANNELS, dtype=np.float32)
    return Calibrator(
        CalibrationMode.EPISODE_BASELINE, Variant.ORACLE, "tensor", ones, 0 * ones, ones
    )


def _take(windows: WindowData, drawn: Iterable[Indices], n_batches: int) -> None:
    for batch in islice(drawn, n_batches):
        windows.take(batch)


def _single_reads(grids: Path, indices: Indices) -> None:
    """Read windows one by one with no map and no arithmetic: the most that random access can do."""
    per_episode = (EPISODE_STEPS - 150 - 100) // 50 + 1
    files = [os.open(path, os.O_RDONLY) for path in sorted(grids.glob("*.npy"))]
    try:
        for i in indices:
            episode, window = divmod(int(i), per_episode)
            shard, place = divmod(episode, SHARD_EPISODES)
            row = place * EPISODE_STEPS + 150 + 50 * window
            os.pread(files[shard], _WINDOW_BYTES, 128 + row * N_CHANNELS * 4)
    finally:
        for file in files:
            os.close(file)


def _read_through(grids: Path) -> None:
    buffer = bytearray(_PIECE)
    for path in sorted(grids.glob("*.npy")):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def _evict(grids: Path) -> None:
    """Put the shards out of the system's cache."""
    for path in grids.glob("*.npy"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _cached_share(grids: Path) -> float:
    """Share of the shards' pages that are in the system's cache, as mincore(2) tells."""
    mincore = ctypes.CDLL(None, use_errno=True).mincore
    mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    cached = total = 0
    for path in grids.glob("*.npy"):
        shard = np.load(path, mmap_mode="r")
        n_bytes = shard.offset + shard.nbytes
        pages = np.zeros(-(-n_bytes // mmap.PAGESIZE), dtype=np.uint8)
        if mincore(shard.ctypes.data - shard.offset, n_bytes, pages.ctypes.data):
            raise OSError(ctypes.get_errno(), f"mincore failed on {path}")
        cached, total = cached + int((pages & 1).sum()), total + pages.size
    return cached / total


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="cis490-bench-") as folder:
        figures: dict[str, float] = {}
        print(measure(Path(folder), figures))
        print(figures)

"""Peak memory of training on n and on 4 n windows, when neither is held in memory."""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.made_grids import commit_grids
from benchmarks.measuring import Line, at_most
from cis490_pipeline.domain import PHASES, Architecture, Side, Variant
from cis490_pipeline.domain.catalogue import input_kind
from cis490_pipeline.features.calibration.calibrator import CalibrationMode, Scaling
from cis490_pipeline.features.channels import N_CHANNELS
from cis490_pipeline.features.datasets import window_data
from cis490_pipeline.features.datasets.build import build_feature_dataset, build_tensor_dataset
from cis490_pipeline.features.datasets.load import fit_calibrator, load_windows
from cis490_pipeline.features.datasets.opened import open_dataset
from cis490_pipeline.features.grids.store import (
    INDEX_SCHEMA,
    GridStore,
)
from cis490_pipeline.features.resample import STEP_NS

MODELS = (Architecture.GBT, Architecture.MLP, Architecture.GRU)
SHORT: dict[str, dict[str, Any]] = {"gbt": {"max_rounds": 5}}
N_EPISODES = 1600
LIMIT_MB = 8
"""What may be held: less than the smaller set's summaries to validate on, so that no set is."""
GROWTH = 4
SHARD_EPISODES = 256
EPISODE_STEPS = 1750
VAL_SHARE = 5
"""Every fifth episode is for validation."""


def measure(scratch: Path, *, n_episodes: int, limit_mb: float) -> list[Line]:
    """Train each model on a set and on one four times as large, each in a process of its own."""
    sets = {}
    for factor in (1, GROWTH):
        folder = scratch / f"times-{factor}"
        _child("make", folder, n_episodes * factor)
        sets[factor] = folder
    lines = []
    for model in MODELS:
        few, many = (
            json.loads(_child("train", folder, model, limit_mb)) for folder in sets.values()
        )
        each = (many["peak"] - few["peak"]) / (many["n_windows"] - few["n_windows"])
        detail = (
            f"{few['peak'] / 2**20:.0f} MB for {few['n_windows']:,} windows, "
            f"{many['peak'] / 2**20:.0f} MB for {many['n_windows']:,} (windows alone "
            f"{few['data'] / 2**20:,.0f} and {many['data'] / 2**20:,.0f} MB, at most "
            f"{limit_mb:g} MB held; {few['before'] / 2**20:.0f} MB before training); "
            f"{each:+.0f} bytes a window of {many['data'] / many['n_windows']:,.0f}"
        )
        name = f"peak memory of training {model}, {GROWTH} n by n windows"
        lines.append(at_most(name, many["peak"] / few["peak"], 1.1, detail=detail))
    return lines


def make_datasets(folder: Path, n_episodes: int) -> None:
    """Write grids of noise with a level for each phase, and both datasets cut from them."""
    grids = folder / "grids"
    grids.mkdir(parents=True)
    rng = np.random.default_rng(0)
    phase_of_step = np.arange(EPISODE_STEPS) * len(PHASES) // EPISODE_STEPS
    n_most = min(n_episodes, SHARD_EPISODES)
    noise = rng.random((n_most, EPISODE_STEPS, N_CHANNELS), dtype=np.float32)
    noise[:, np.arange(EPISODE_STEPS), phase_of_step] += 0.3
    starts = [int(np.flatnonzero(phase_of_step == i)[0]) for i in range(len(PHASES))]
    rows, names = [], []
    for first in range(0, n_episodes, SHARD_EPISODES):
        n_here = min(SHARD_EPISODES, n_episodes - first)
        # Another number in front keeps shards apart; what is in them costs no memory.
        noise[:, 0, 0] = first
        names.append(f"shard-{first // SHARD_EPISODES:05d}-made-up.npy")
        np.save(grids / names[-1], noise[:n_here].reshape(-1, N_CHANNELS))
        rows += [_grid_row(first, place, names[-1], starts) for place in range(n_here)]
    frame = pl.DataFrame(rows, schema=INDEX_SCHEMA)
    commit_grids(grids, frame, names)
    side = pl.when(pl.int_range(pl.len()) % VAL_SHARE == 0).then(pl.lit(str(Side.VAL)))
    index = frame.select(
        "episode_id",
        "host_id",
        profile=pl.lit("made-up"),
        sample_name=pl.lit(None, dtype=pl.String),
        side=side.otherwise(pl.lit(str(Side.TRAIN))),
        scorable=pl.lit(True),
    )
    store = GridStore(grids)
    for kind, build in (("summary", build_feature_dataset), ("tensor", build_tensor_dataset)):
        (folder / kind).mkdir()
        build(store, index, folder / kind, split_digest="made-up")


def train(folder: Path, architecture: Architecture, limit_mb: float) -> dict[str, int]:
    """Train on a set for one epoch or a few rounds, as the pipeline does, and look at the peak."""
    from cis490_pipeline.models.registry import create
    from cis490_pipeline.training.snapshot import Snapshots

    window_data.IN_MEMORY_BYTES = int(limit_mb * 2**20)
    kind, variant = input_kind(architecture), Variant.ORACLE
    dataset = open_dataset(folder / kind, kind)
    model = create(
        architecture, variant, seed=0, config=SHORT.get(str(architecture), {"max_epochs": 1})
    )
    before = _peak_bytes()
    calibrator = fit_calibrator(
        dataset, variant, CalibrationMode.EPISODE_BASELINE, scaling=Scaling.TRAIN
    )
    sides = [load_windows(dataset, s, calibrator) for s in (Side.TRAIN, Side.VAL)]
    snapshots = Snapshots(folder / f"{architecture}.safetensors")
    # A state left by an earlier run would be gone on from, and nothing be trained.
    snapshots.path.unlink(missing_ok=True)
    model.fit(*sides, snapshots=snapshots)
    model.predict_windows(sides[1])
    n_windows = sum(map(len, sides))
    n_bytes = n_windows * int(np.prod(sides[0].shape)) * 4
    return {"peak": _peak_bytes(), "before": before, "n_windows": n_windows, "data": n_bytes}


def main(arguments: Sequence[str]) -> None:
    """Measure; or, as a process of its own, make the sets or train on one."""
    if arguments[:1] == ["make"]:
        make_datasets(Path(arguments[1]), int(arguments[2]))
        return
    if arguments[:1] == ["train"]:
        peaks = train(Path(arguments[1]), Architecture(arguments[2]), float(arguments[3]))
        print(json.dumps(peaks))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=N_EPISODES, help="of the smaller set")
    parser.add_argument("--limit-mb", type=float, default=LIMIT_MB, help="held in memory at most")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="cis490-bench-") as folder:
        lines = measure(Path(folder), n_episodes=chosen.episodes, limit_mb=chosen.limit_mb)
    for line in lines:
        print(
            f"{line.name}: {line.measured:.2f} {line.unit} (wanted {line.wanted}, "
            f"{'met' if line.met else 'missed'}); {line.detail}"
        )


def _grid_row(first: int, place: int, shard: str, starts: Sequence[int]) -> dict[str, Any]:
    return {
        "episode_id": f"{first:08d}{place:018d}",
        "host_id": f"host-{place % 5}",
        "sha256": f"{first}-{place}",
        "shard": shard,
        "row_start": place * EPISODE_STEPS,
        "n_steps": EPISODE_STEPS,
        "t0_wall_ns": 0,
        "end_wall_ns": EPISODE_STEPS * STEP_NS,
        "label_t_wall_ns": [start * STEP_NS for start in starts],
        "label_phase": [str(phase) for phase in PHASES],
        "baseline_median": [0.0] * N_CHANNELS,
        "baseline_iqr": [0.0] * N_CHANNELS,
        "baseline_clean": True,
    }


def _peak_bytes() -> int:
    """Most memory this process had, pages of mapped files included."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _child(*arguments: object) -> str:
    command = [sys.executable, "-m", "benchmarks.training_memory", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main(sys.argv[1:])

"""Sides of a store for the benchmark of models: unseen hosts, or folds in which every host is seen.

The windows are those the pipeline cuts, calibrated as it calibrates them (``episode_baseline``,
fitted on the arrangement's own train side).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.compute import SerialCompute
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Recipe, Side, Variant
from cis490_pipeline.domain.catalogue import InputKind
from cis490_pipeline.experiment.pipeline.corpus import GridShards, corpus_stages
from cis490_pipeline.experiment.pipeline.dataset import ValidationIndex
from cis490_pipeline.experiment.pipeline.training import models_calibrator
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.datasets.build import build_feature_dataset, build_tensor_dataset
from cis490_pipeline.features.datasets.load import load_windows
from cis490_pipeline.features.datasets.opened import open_dataset
from cis490_pipeline.features.datasets.window_data import ArrayWindows
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.simulation.store import SimulationConfig, simulate_store
from cis490_pipeline.splits.recipes import make_split

N_FOLDS: Final = 5


@dataclass(frozen=True, eq=False)
class Sides:
    """Calibrated windows of one arrangement, as one kind of model reads them."""

    train: ArrayWindows
    val: ArrayWindows
    test: ArrayWindows
    test_hosts: npt.NDArray[np.str_]
    """(n_test_windows,)."""


def simulated(folder: Path, config: SimulationConfig) -> Workspace:
    """Simulate a store (once), check it and cut its grids."""
    store = folder / "store"
    if not store.exists():
        folder.mkdir(parents=True, exist_ok=True)
        simulate_store(store, config, SerialCompute())
    settings = Settings(store=store, data=folder / "data", train_hosts=config.hosts, workers=1)
    return checked(Workspace(settings))


def checked(workspace: Workspace) -> Workspace:
    """Validate a store's episodes and cut their grids, as far as not done yet."""
    for stage in corpus_stages(workspace):
        stage.ensure()
    return workspace


def unseen_host(workspace: Workspace, host: str, hosts: Iterable[str]) -> pl.DataFrame:
    """Index of the project's own host split, trained on all hosts but one."""
    settings = replace(
        workspace.settings, train_hosts=tuple(sorted(other for other in hosts if other != host))
    )
    index = ValidationIndex(Workspace(settings), Recipe.HOST)
    episodes = index.episodes()
    split = make_split(Recipe.HOST, episodes, **index.rule())
    return episodes.join(split.assignment.select("episode_id", "side"), on="episode_id")


def seen_hosts(workspace: Workspace, fold: int, seed: int = 0) -> pl.DataFrame:
    """Index of one of five folds by episode, with all hosts and profiles in each.

    One fold tests, the next validates, three train: with five hosts as many episodes on each side
    as when one host tests and one validates, so that only having seen the host differs.
    """
    episodes = ValidationIndex(workspace, Recipe.HOST).episodes()
    rows = sorted(
        episodes.select("episode_id", "host_id", "profile").rows(),
        key=lambda row: (row[1], row[2] or "", blake2b(f"{seed}:{row[0]}".encode()).digest()),
    )
    place = {episode_id: i % N_FOLDS for i, (episode_id, _, _) in enumerate(rows)}
    side_of = {fold: Side.TEST, (fold + 1) % N_FOLDS: Side.VAL}
    sides = [
        side_of.get(place[episode_id], Side.TRAIN) if clean else Side.EXCLUDED
        for episode_id, clean in episodes.select("episode_id", "baseline_clean").rows()
    ]
    return episodes.with_columns(side=pl.Series([str(side) for side in sides])).filter(
        pl.col("scorable")
    )


def cut(
    workspace: Workspace,
    index: pl.DataFrame,
    folder: Path,
    kind: InputKind,
    variant: Variant,
    *,
    built: InputKind | None = None,
) -> Sides:
    """Build a dataset of the index (once) and read its sides into memory.

    Parameters
    ----------
    built : kind of the dataset, where windows of another kind are read from it.
    """
    grids = GridStore(GridShards(workspace).folder)
    built = built or kind
    place = folder / built
    if not (place / "manifest.json").is_file():
        if built == "tensor":
            build_tensor_dataset(grids, index, place, split_digest="benchmark")
        else:
            build_feature_dataset(grids, index, place, split_digest="benchmark", kind=built)
    dataset = open_dataset(place, built)
    calibrator = models_calibrator(workspace.settings, dataset, variant, kind=kind)
    read = {
        side: load_windows(dataset, side, calibrator) for side in (Side.TRAIN, Side.VAL, Side.TEST)
    }
    in_memory = {
        side: ArrayWindows(windows.take(np.arange(len(windows))), windows.y, windows.groups)
        for side, windows in read.items()
    }
    return Sides(
        train=in_memory[Side.TRAIN],
        val=in_memory[Side.VAL],
        test=in_memory[Side.TEST],
        test_hosts=np.array(read[Side.TEST].frame["host_id"].to_list(), dtype=np.str_),
    )


def without(windows: ArrayWindows, columns: slice) -> ArrayWindows:
    """Return the same windows with one source dead throughout."""
    X = windows.X.copy()
    X[:, columns] = np.nan
    return replace(windows, X=X)


def held_out(hosts: Sequence[str], n: int) -> tuple[str, ...]:
    """Hosts that are unseen in turn: the first ones by name."""
    return tuple(sorted(hosts)[:n])

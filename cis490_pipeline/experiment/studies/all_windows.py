"""Windows of every episode that could be trained on, from which studies choose by episode."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cis490_pipeline.domain import Recipe, Side
from cis490_pipeline.domain.catalogue import InputKind
from cis490_pipeline.errors import SplitError
from cis490_pipeline.experiment.pipeline.corpus import GridShards, ValidationSweep
from cis490_pipeline.experiment.pipeline.dataset import (
    ValidationIndex,
    cut_windows,
    window_versions,
)
from cis490_pipeline.experiment.stages.record import Metrics
from cis490_pipeline.experiment.stages.stage import Stage, StageOutput, digests
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.datasets.duplicates import near_duplicates
from cis490_pipeline.features.datasets.opened import OpenDataset, open_dataset
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.splits.placement import instant
from cis490_pipeline.storage.files import digest


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """Ids of the episodes that one training learns from, is stopped by, and is scored on.

    Raises
    ------
    SplitError
        Naming the first episode that is on two sides.
    """

    name: str
    """In progress and messages."""
    train: tuple[str, ...]
    val: tuple[str, ...]
    scored: tuple[str, ...]

    def __post_init__(self) -> None:
        sides = {"train": self.train, "val": self.val, "scored": self.scored}
        seen: dict[str, str] = {}
        for side, ids in sides.items():
            for episode_id in ids:
                if episode_id in seen:
                    raise SplitError(
                        f"{self.name}: episode {episode_id} is in {seen[episode_id]} and in {side}"
                    )
                seen[episode_id] = side


class WindowPool(Stage):
    """``study/<kind>_windows``: one dataset of all episodes; each study picks its own sides.

    The sides of no recipe are in it: all of its windows are called train.
    """

    def above(self) -> tuple[Stage, ...]:
        """Return the grids."""
        return (GridShards(self.workspace),)

    def __init__(self, workspace: Workspace, kind: InputKind) -> None:
        super().__init__(workspace)
        self.kind = kind

    @property
    def key(self) -> str:
        """Name with a slash."""
        return f"study/{self.kind}_windows"

    @property
    def scope(self) -> str:
        """A scope of its own: it is made while a study's lock is held."""
        return "studies"

    @property
    def folder(self) -> Path:
        """Folder of the dataset."""
        return self.workspace.paths.study_windows(self.kind)

    def open(self) -> OpenDataset:
        """Open the dataset; verified once per process."""
        return open_dataset(self.folder, self.kind)

    def inputs(self) -> dict[str, str] | None:
        """Return digests of verdicts, grids and what a feature means."""
        made = digests(validation=ValidationSweep(self.workspace), grids=GridShards(self.workspace))
        return made and {**made, **window_versions(self.kind)}

    def make(self) -> StageOutput:
        """Cut the windows of every episode that begins clean."""
        index = pool_episodes(self.workspace)[0].with_columns(side=pl.lit(str(Side.TRAIN)))
        no_split = digest(sorted(index["episode_id"]))
        manifest, files = cut_windows(self.workspace, self.kind, index, self.folder, no_split)
        n_windows = manifest.n_windows[str(Side.TRAIN)]
        numbers: Metrics = {"windows": n_windows, "episodes": index.height}
        return StageOutput(manifest.digest, files, numbers, manifest.variants)


def pool_episodes(workspace: Workspace) -> tuple[pl.DataFrame, list[str]]:
    """Return the usable episodes with a clean baseline, sorted by id: what studies draw from.

    Of episodes that hold the same telemetry the later received is left out, whatever host shipped
    it: a study draws new sides, and would sooner or later put the two on different ones.

    Returns
    -------
    The episodes, and in words which were left out as copies of which.
    """
    # Which recipe is asked does not matter: the episodes are those of the last sweep.
    episodes = ValidationIndex(workspace, Recipe.HOST).episodes().filter("baseline_clean")
    apart = episodes.with_columns(side=pl.col("episode_id"))
    found = near_duplicates(GridStore(GridShards(workspace).folder), apart)
    received = dict(episodes.select("episode_id", "received_at_wall").iter_rows())
    copies: dict[str, str] = {}
    for pair in found:
        first, later = sorted((pair.first, pair.second), key=lambda n: (instant(received[n]), n))
        copies[later] = f"{later}: the same telemetry as {first}"
    kept = episodes.filter(~pl.col("episode_id").is_in(sorted(copies))).sort("episode_id")
    return kept, [copies[name] for name in sorted(copies)]


def chosen(episode_ids: Iterable[str]) -> pl.Expr:
    """Condition on the key columns of a dataset: windows of these episodes."""
    return pl.col("episode_id").is_in(sorted(episode_ids))

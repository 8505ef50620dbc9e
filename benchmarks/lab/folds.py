"""Sides of `data/lab`: each of its hosts to train and choose on left out in turn, and its own."""

import tomllib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import polars as pl

from benchmarks.contest import Arrangement
from benchmarks.host_sides import checked
from cis490_pipeline.config import FILE_NAME, Settings
from cis490_pipeline.domain import Recipe, Side
from cis490_pipeline.experiment.pipeline.dataset import ValidationIndex
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.splits.recipes import make_split
from cis490_pipeline.storage.files import digest

LAB: Final = Path(__file__).parents[2] / "data" / "lab"


@dataclass(frozen=True, eq=False)
class LabSides:
    """A store with sides of its own, whose test hosts no fold has.

    Attributes
    ----------
    workspace : with the store's own settings.
    folder : where datasets lie, by arrangement.
    """

    workspace: Workspace
    folder: Path

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts of the train and val sides: all that anything is chosen on."""
        settings = self.workspace.settings
        return tuple(sorted({*settings.train_hosts, *settings.val_hosts}))

    @cached_property
    def episodes(self) -> pl.DataFrame:
        """Usable episodes of all hosts."""
        return ValidationIndex(self.workspace, Recipe.HOST).episodes()

    def without(self, host: str) -> Arrangement:
        """One host is scored, the next by name validates, the others of ``hosts`` train."""
        place = self.hosts.index(host)
        validates = self.hosts[(place + 1) % len(self.hosts)]
        train = tuple(sorted({*self.hosts} - {host, validates}))
        episodes = self.episodes.filter(pl.col("host_id").is_in(self.hosts))
        return self._arrangement(f"without {host}", episodes, train, (validates,))

    def own(self) -> Arrangement:
        """Arrange the store's own sides; reading them opens its test hosts."""
        settings = self.workspace.settings
        return self._arrangement("own", self.episodes, settings.train_hosts, settings.val_hosts)

    def _arrangement(
        self, name: str, episodes: pl.DataFrame, train: tuple[str, ...], val: tuple[str, ...]
    ) -> Arrangement:
        settings = replace(self.workspace.settings, train_hosts=train, val_hosts=val)
        rule = ValidationIndex(Workspace(settings), Recipe.HOST).rule()
        split = make_split(Recipe.HOST, episodes, **rule)
        index = episodes.join(split.assignment.select("episode_id", "side"), on="episode_id")
        # The corpus grows: what was kept of fewer episodes, or of more channels, is another's.
        of = {str(side): sorted(index.filter(side=str(side))["episode_id"]) for side in Side}
        name = f"{name} {digest({**of, 'quarantine': sorted(settings.quarantine)})[:12]}"
        return Arrangement(name, self.workspace, index, self.folder / name, features="history")


def lab_sides(folder: Path, store: Path = LAB) -> LabSides:
    """Check the store's episodes and cut their grids, as far as not done yet."""
    of_file: dict[str, Any] = tomllib.loads((store / FILE_NAME).read_text(encoding="utf-8"))
    sides = {name: tuple(of_file[name]) for name in ("train_hosts", "val_hosts")}
    quarantine = of_file.get("quarantine", {})
    settings = Settings(
        store=store, data=folder / "data", workers=1, quarantine=quarantine, **sides
    )
    return LabSides(checked(Workspace(settings)), folder)

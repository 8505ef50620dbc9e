"""Stages of one recipe's data: which episode is on which side, and the windows cut from them."""

from pathlib import Path
from typing import Final

import polars as pl

from cis490_pipeline.domain import Recipe, Side, Variant
from cis490_pipeline.domain.catalogue import FlatKind, InputKind
from cis490_pipeline.errors import SplitError, StoreError
from cis490_pipeline.experiment.pipeline.corpus import GridShards, ValidationSweep
from cis490_pipeline.experiment.stages.record import Metrics
from cis490_pipeline.experiment.stages.stage import Stage, StageOutput, digests
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.datasets.build import build_feature_dataset, build_tensor_dataset
from cis490_pipeline.features.datasets.manifest import DATASET_VERSION, DatasetManifest
from cis490_pipeline.features.datasets.opened import OpenDataset, open_dataset
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.schema import feature_schema
from cis490_pipeline.splits.persist import load_or_make, load_split
from cis490_pipeline.splits.recipes import SPLIT_VERSION
from cis490_pipeline.splits.split import Split, SplitRule
from cis490_pipeline.storage.files import digest
from cis490_pipeline.storage.parquet import read_table, write_parquet
from cis490_pipeline.store.verdicts.eligibility import scorable_expr, usable_expr

_MAX_NAMED: Final = 20


class RecipeStage(Stage):
    """A stage of one split recipe; its record lies beside its recipe's others."""

    def __init__(self, workspace: Workspace, recipe: Recipe) -> None:
        super().__init__(workspace)
        self.recipe = recipe

    @property
    def scope(self) -> str:
        """The recipe's name."""
        return str(self.recipe)


class ValidationIndex(RecipeStage):
    """``dataset/validation_index``: the usable episodes, each with its side or why it has none."""

    key = "dataset/validation_index"

    def inputs(self) -> dict[str, str] | None:
        """Return digests of verdicts, grids, and the settings that choose the sides."""
        made = digests(validation=ValidationSweep(self.workspace), grids=GridShards(self.workspace))
        rules = {"split_rules": SPLIT_VERSION, "split_settings": digest(self.rule())}
        return made and {**made, **rules}

    def require_possible(self) -> None:
        """Raise `SplitError` if a named host of a new split has no episode in the store."""
        record, settings = self.record(), self.workspace.settings
        made_so = record is not None and record.inputs.get("split_settings") == digest(self.rule())
        if self.recipe is not Recipe.HOST or made_so:
            return
        try:
            hosts = {ref.host_id for ref in self.workspace.store.require_episodes()}
        except StoreError:
            # The sweep reports it, as a failed step of its own.
            return
        named = {"train": settings.train_hosts, "val": settings.val_hosts}
        for side, wanted in named.items():
            if missing := sorted(set(wanted) - hosts):
                raise SplitError(
                    f"{self.workspace.store.name}: has no episode of the {side} hosts "
                    f"{', '.join(missing)}; hosts there: {_some(sorted(hosts))}. Name {side} hosts "
                    f"with --{side}-hosts, CIS490_{side.upper()}_HOSTS or {side}_hosts in "
                    "cis490.toml (in Dagster: of the resource workspace)"
                )

    def split(self) -> Split:
        """Return the recipe's split of the episodes as the last sweep found them."""
        return load_or_make(
            self.workspace.paths.split(self.recipe), self.recipe, self.episodes(), **self.rule()
        )

    def rule(self) -> SplitRule:
        """Return what the user chose of the split; the same for every training seed."""
        settings = self.workspace.settings
        rule: SplitRule = {"seed": settings.split_seed}
        if self.recipe is Recipe.HOST:
            rule["train_hosts"] = settings.train_hosts
            # Left out where none is named, so that data made before it existed stays up to date.
            if settings.val_hosts:
                rule["val_hosts"] = settings.val_hosts
        return rule

    def placed(self) -> Split:
        """Return the stored split over the episodes of the last index: what datasets are cut by."""
        stored = load_split(self.workspace.paths.split(self.recipe))
        return stored.restricted(read_table(self.workspace.paths.validation_index(self.recipe)))

    def episodes(self) -> pl.DataFrame:
        """Return the usable episodes that have a grid, with what decides where they may go."""
        verdicts = read_table(self.workspace.paths.validation)
        usable = verdicts.filter(usable_expr()).with_columns(scorable=scorable_expr())
        grids = GridStore(GridShards(self.workspace).folder).frame
        return usable.join(
            grids.select("episode_id", "host_id", "baseline_clean"),
            on=["host_id", "episode_id"],
            how="inner",
            maintain_order="left",
        )

    def make(self) -> StageOutput:
        """Put every episode on a side, keeping the sides already given."""
        path = self.workspace.paths.validation_index(self.recipe)
        split = self.split()
        frame = self.episodes().join(
            split.assignment.select("host_id", "episode_id", "side", "why"),
            on=["host_id", "episode_id"],
            how="inner",
            maintain_order="left",
        )
        write_parquet(path, frame)
        sides = {side: frame.filter(pl.col("side") == side) for side in Side}
        excluded = sides[Side.EXCLUDED].group_by("why").len().sort("why")
        numbers: Metrics = {f"episodes_{side}": part.height for side, part in sides.items()}
        numbers |= {f"excluded: {row['why']}": row["len"] for row in excluded.to_dicts()}
        numbers["untested_profiles"] = "; ".join(
            f"{host}: {', '.join(profiles)}"
            for host, profiles in sorted(split.untested_profiles.items())
            if profiles
        )
        numbers["selected_on"] = split.selected_on
        return StageOutput(split.digest, (path, self.workspace.paths.split(self.recipe)), numbers)


def _some(names: list[str]) -> str:
    more = f", and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more


class WindowShards(RecipeStage):
    """The windows of every episode that has a side, as one kind of input."""

    kind: InputKind

    def above(self) -> tuple[Stage, ...]:
        """Return the split."""
        return (ValidationIndex(self.workspace, self.recipe),)

    def inputs(self) -> dict[str, str] | None:
        """Return digests of the split, the grids and what a feature means."""
        made = digests(
            split=ValidationIndex(self.workspace, self.recipe), grids=GridShards(self.workspace)
        )
        return made and {**made, **window_versions(self.kind)}

    @property
    def folder(self) -> Path:
        """Folder of the dataset version."""
        paths = self.workspace.paths
        of_kind = paths.tensor_dir if self.kind == "tensor" else paths.feature_dir
        return of_kind(self.recipe)

    def open(self) -> OpenDataset:
        """Open the dataset; verified once per process."""
        return open_dataset(self.folder, self.kind)

    def make(self) -> StageOutput:
        """Cut the windows of every episode that has a side."""
        index = read_table(self.workspace.paths.validation_index(self.recipe))
        split = ValidationIndex(self.workspace, self.recipe).placed()
        manifest, files = cut_windows(self.workspace, self.kind, index, self.folder, split.digest)
        numbers: Metrics = {f"windows_{side}": n for side, n in manifest.n_windows.items()}
        numbers |= {"leaks": manifest.leaks, "schema_hash": manifest.schema_hash}
        return StageOutput(manifest.digest, files, numbers, manifest.variants)


class FeatureShards(WindowShards):
    """``dataset/feature_shards``: features of each window, rows by side.

    Of the kind that the settings name, whose schema is an input: another kind makes it stale.
    """

    key = "dataset/feature_shards"
    kind: FlatKind

    def __init__(self, workspace: Workspace, recipe: Recipe) -> None:
        super().__init__(workspace, recipe)
        self.kind = workspace.settings.features


class TensorShards(WindowShards):
    """``dataset/tensor_shards``: where each window lies in the grid shards."""

    key = "dataset/tensor_shards"
    kind: InputKind = "tensor"


def shards_of(kind: InputKind) -> type[WindowShards]:
    """Return the stage that makes the windows of one kind."""
    return TensorShards if kind == "tensor" else FeatureShards


def window_versions(kind: InputKind) -> dict[str, str]:
    """Return what else a dataset is made of: the meaning of its features, and its format."""
    schema = feature_schema(kind, Variant.ORACLE)
    return {f"{kind}_schema": schema.hash, "dataset": str(DATASET_VERSION)}


def cut_windows(
    workspace: Workspace, kind: InputKind, index: pl.DataFrame, folder: Path, split_digest: str
) -> tuple[DatasetManifest, tuple[Path, ...]]:
    """Write the dataset of the episodes of an index; return its manifest and files."""
    grids = GridStore(GridShards(workspace).folder)
    if kind == "tensor":
        manifest = build_tensor_dataset(grids, index, folder, split_digest=split_digest)
    else:
        manifest = build_feature_dataset(
            grids,
            index,
            folder,
            split_digest=split_digest,
            kind=kind,
            progress=workspace.progress,
        )
    return manifest, tuple(path for path in folder.iterdir() if path.is_file())


def dataset_stages(workspace: Workspace, recipe: Recipe) -> tuple[Stage, ...]:
    """Return the data of one recipe, in order."""
    return (
        ValidationIndex(workspace, recipe),
        FeatureShards(workspace, recipe),
        TensorShards(workspace, recipe),
    )

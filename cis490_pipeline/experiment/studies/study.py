"""The stage that makes ``study.json``, by section, each kept until what it is of changes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import polars as pl

from cis490_pipeline.domain import Architecture, Recipe, Side, Variant
from cis490_pipeline.domain.catalogue import ARCHITECTURE_VERSIONS
from cis490_pipeline.domain.terms import model_name
from cis490_pipeline.errors import StoreError
from cis490_pipeline.evaluation.detection.filtered_alarm import RULE
from cis490_pipeline.evaluation.report import EVALUATION_VERSION
from cis490_pipeline.evaluation.schema.host_out import HostOutStudy
from cis490_pipeline.evaluation.schema.stored import checked_form, read_form
from cis490_pipeline.evaluation.schema.study import CarriedStudy, StudyInputsOnly, StudyModel
from cis490_pipeline.evaluation.schema.study import Study as StudyFile
from cis490_pipeline.experiment.pipeline.corpus import GridShards, ValidationSweep
from cis490_pipeline.experiment.pipeline.dataset import RecipeStage, ValidationIndex
from cis490_pipeline.experiment.pipeline.training import (
    CALIBRATION,
    GAUGES,
    SCALING,
    quarantine_input,
)
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.experiment.stages.record import Metrics
from cis490_pipeline.experiment.stages.stage import Stage, StageOutput, digests
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.studies.all_windows import pool_episodes
from cis490_pipeline.experiment.studies.drift import drift
from cis490_pipeline.experiment.studies.host_out import (
    Scope,
    leave_one_host_out,
    scope_of,
    without_kept_back,
)
from cis490_pipeline.experiment.studies.hosts import cross_host
from cis490_pipeline.experiment.studies.profiles import leave_one_profile_out
from cis490_pipeline.experiment.studies.runs import StudyRuns, Tally
from cis490_pipeline.experiment.studies.time_decay import time_decay
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.schema import feature_schema
from cis490_pipeline.storage.files import digest, read_object, write_json
from cis490_pipeline.storage.parquet import read_table

STUDY_VERSION: Final = "3"
"""Raised when a section is computed or written in another way."""
_REMEDY: Final = "Remove the file and run: cis490 study"


class Section(StrEnum):
    """Sections of a study."""

    PROFILES = "profiles"
    HOSTS = "hosts"
    TIME = "time"
    DRIFT = "drift"
    HOST_OUT = "host_out"


CHEAP: Final = (Architecture.GBT, Architecture.MLP)
"""Trained in seconds; a study trains each model dozens of times."""

Model = tuple[Architecture, Variant]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The models and sections of a study to make now."""

    models: tuple[Model, ...]
    sections: tuple[Section, ...] = tuple(Section)
    seeds: int = 1
    """Trainings of each model without each host, with seeds from the settings' on."""
    tally: Tally = field(default_factory=Tally)
    """Filled while the study is made."""


class Study(RecipeStage):
    """``model/study``: profiles and hosts left out, cross-host, time decay, drift.

    Only asked for by name: no report waits for it, and no backfill makes it.
    """

    key = "model/study"

    def __init__(self, workspace: Workspace, recipe: Recipe, asked: Asked) -> None:
        super().__init__(workspace, recipe)
        self.asked = asked

    @property
    def scope(self) -> str:
        """A scope of its own: hours of it must not keep the recipe's lock."""
        return f"{self.recipe}_study"

    def above(self) -> tuple[Stage, ...]:
        """Return the split."""
        return (ValidationIndex(self.workspace, self.recipe),)

    def inputs(self) -> dict[str, str] | None:
        """Return digests of verdicts, grids, split and settings, and what was asked for."""
        about = study_of(self.workspace, self.recipe)
        if about is None:
            return None
        models = sorted(model_name(*model) for model in self.asked.models)
        return {
            **{name: str(value) for name, value in about.items()},
            "asked": digest(
                {
                    "models": models,
                    "sections": sorted(self.asked.sections),
                    "seeds": self.asked.seeds,
                }
            ),
            "settings": digest([_made_with(self.workspace, *m) for m in self.asked.models]),
        }

    def make(self) -> StageOutput:
        """Make the sections asked for; keep the others that are still of the same."""
        about = study_of(self.workspace, self.recipe)
        assert about is not None, "a study needs a split"
        episodes, copies = pool_episodes(self.workspace)
        index = _index(self.workspace, self.recipe, episodes)
        path = self.workspace.paths.study(self.recipe)
        kept = _made_of(path, about)
        models = dict(kept["models"]) if kept else {}
        for architecture, variant in self.asked.models:
            runs = StudyRuns(self.workspace, architecture, variant, self.asked.tally)
            if set(self.asked.sections) - {Section.DRIFT, Section.HOST_OUT}:
                make_stages((runs.pool,))
            models[runs.name] = self._of_model(runs, models.get(runs.name), index, episodes)
        drift_section = kept["drift"] if kept else None
        seed = self.workspace.settings.seed
        if Section.DRIFT in self.asked.sections:
            drift_section = drift(GridStore(GridShards(self.workspace).folder), index, seed=seed)
        host_out = kept["host_out"] if kept else None
        if Section.HOST_OUT in self.asked.sections:
            host_out = self._host_out(kept, scope_of(episodes, index, self.workspace.settings))
        result: StudyFile = {
            "format": "study",
            "split": str(self.recipe),
            "seed": seed,
            "of": about,
            "alarm_rule": RULE,
            "left_out": copies,
            "models": models,
            "drift": drift_section,
            "host_out": host_out,
        }
        write_json(path, result)
        tally = self.asked.tally
        numbers: Metrics = {"models": len(models), "trained": tally.trained, "kept": tally.kept}
        return StageOutput(digest(result), (path,), numbers)

    def _host_out(self, kept: StudyFile | None, scope: Scope) -> HostOutStudy:
        """Leave hosts out for the models asked for, and for those of before that are unchanged."""
        asked = dict.fromkeys(self.asked.models, self.asked.seeds)
        seeds = {**(self._studied(kept) if kept is not None else {}), **asked}
        first = self.workspace.settings.seed
        trainings = [
            [
                StudyRuns(self.workspace, *model, self.asked.tally, seed=seed)
                for seed in range(first, first + n)
            ]
            for model, n in seeds.items()
        ]
        make_stages(runs[0].pool for runs in trainings)
        return leave_one_host_out(trainings, scope, seed=first)

    def _studied(self, kept: StudyFile) -> dict[Model, int]:
        """Models that a stored study has scored without each host, with their number of seeds."""
        section = kept["host_out"]
        named = [row for row in section["rows"] if row["kind"] == "model"] if section else []
        return {
            model: row["seeds"]["n_seeds"]
            for row in named
            for model in (_model_of(row["model"]),)
            if row["why"] is None
            and kept["models"][row["model"]]["settings"] == _made_with(self.workspace, *model)
        }

    def _of_model(
        self, runs: StudyRuns, kept: StudyModel | None, index: pl.DataFrame, episodes: pl.DataFrame
    ) -> StudyModel:
        seed, asked = self.workspace.settings.seed, self.asked.sections
        settings = _made_with(runs.workspace, runs.architecture, runs.variant)
        model: StudyModel = {"settings": settings, "profiles": None, "hosts": None, "time": None}
        # A section of other settings is of another model, whatever its name.
        if kept is not None and kept["settings"] == settings:
            model |= kept
        if Section.PROFILES in asked:
            model["profiles"] = leave_one_profile_out(runs, index, seed=seed)
        known = without_kept_back(episodes, self.workspace.settings)
        if Section.HOSTS in asked:
            model["hosts"] = cross_host(runs, known, seed=seed)
        if Section.TIME in asked:
            model["time"] = time_decay(runs, known, seed=seed)
        return model


def study_of(workspace: Workspace, recipe: Recipe) -> dict[str, str | int] | None:
    """Return the inputs that a study of this recipe would have now; None without a split."""
    made = digests(
        split=ValidationIndex(workspace, recipe),
        validation=ValidationSweep(workspace),
        grids=GridShards(workspace),
    )
    if made is None:
        return None
    return {
        **made,
        "seed": workspace.settings.seed,
        "study": STUDY_VERSION,
        "evaluation": EVALUATION_VERSION,
    }


def carried_study(workspace: Workspace, recipe: Recipe) -> CarriedStudy | None:
    """Return the stored study as a leaderboard carries it; None if there is none.

    Returns
    -------
    All of it with ``status`` ``current``; or, if it was made of something else than there is now,
    ``status`` ``stale`` and ``why``, without a single number.

    Raises
    ------
    EvaluationError
        If the file is no study, or is current and not of its form.
    """
    path = workspace.paths.study(recipe)
    if not path.is_file():
        return None
    stored = read_form(path, StudyInputsOnly, remedy=_REMEDY)
    about = study_of(workspace, recipe) or {}
    changed = sorted(k for k in {*about, *stored["of"]} if about.get(k) != stored["of"].get(k))
    changed += [
        f"setting of {name}"
        for name, model in sorted(stored["models"].items())
        if model["settings"] != _made_with(workspace, *_model_of(name))
    ]
    if not changed:
        study = checked_form(stored, StudyFile, str(path), remedy=_REMEDY)
        return {**study, "status": "current", "why": None}
    why = f"made of another {', '.join(changed)}; make it again: cis490 study --split {recipe}"
    return {"format": "study", "split": str(recipe), "status": "stale", "why": why}


def default_models(
    workspace: Workspace, recipe: Recipe, variants: Sequence[Variant]
) -> list[Model]:
    """Return each variant's model chosen on validation if it is a cheap one, else trees."""
    try:
        selected = read_object(workspace.paths.leaderboard(recipe), "selected")["selected"]
    except StoreError:
        selected = {}
    cheap = {model_name(a, v): (a, v) for a in CHEAP for v in variants}
    return [
        cheap.get(str(selected.get(str(variant))), (Architecture.GBT, variant))
        for variant in variants
    ]


def _made_with(workspace: Workspace, architecture: Architecture, variant: Variant) -> str:
    """Digest of what a model is but for the data: version, settings, features and calibration."""
    runs = StudyRuns(workspace, architecture, variant)
    return digest(
        {
            "architecture": ARCHITECTURE_VERSIONS[architecture],
            "variant": str(variant),
            "calibration": [str(CALIBRATION), str(GAUGES), str(SCALING)],
            "settings": runs.settings,
            "features": feature_schema(runs.kind, variant).hash,
            **quarantine_input(workspace.settings),
        }
    )


def _model_of(name: str) -> Model:
    architecture, _, variant = name.rpartition("_")
    return Architecture(architecture), Variant(variant)


def _made_of(path: Path, about: dict[str, str | int]) -> StudyFile | None:
    """Return the stored study if it is there and has these inputs."""
    if not path.is_file() or read_form(path, StudyInputsOnly, remedy=_REMEDY)["of"] != about:
        return None
    return read_form(path, StudyFile, remedy=_REMEDY)


def _index(workspace: Workspace, recipe: Recipe, episodes: pl.DataFrame) -> pl.DataFrame:
    """Episodes of a study that have a side of the recipe."""
    index = read_table(workspace.paths.validation_index(recipe))
    placed = index.filter(pl.col("side") != Side.EXCLUDED)
    return placed.join(episodes.select("episode_id"), on="episode_id", how="semi").sort(
        "episode_id"
    )

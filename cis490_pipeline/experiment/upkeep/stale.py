"""What a change outdated, artefact by artefact and split by split, and what of it to make again.

What was never made is not stale: nobody asked for it. Staleness travels all the way down, as an
upper bound: what lies below something stale may turn out the same once that is made again.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import PipelineError
from cis490_pipeline.experiment.order import corpus_stages, further_stages, recipe_stages
from cis490_pipeline.experiment.pipeline.training import FURTHER, TrainedCheckpoint
from cis490_pipeline.experiment.stages.gates import require_current_passed
from cis490_pipeline.experiment.stages.make import Announce, made_keys, make_stages
from cis490_pipeline.experiment.stages.record import Record
from cis490_pipeline.experiment.stages.stage import Stage
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.schema import FeatureSchema, feature_schema, first_difference
from cis490_pipeline.storage.files import read_object

CORPUS: Final = "corpus"
"""Scope of what no split changes."""

_SCHEMA_INPUTS: Final = ("grid_schema", "summary_schema", "tensor_schema", "feature_schema")
_SCHEMA_FILES: Final = {
    # Where each kind of artefact keeps the schema it was made with: file name -> key within.
    "feature_schema_v1.json": None,
    "checkpoint.json": "feature_schema",
    "manifest.json": "schema",
}
_SHOWN: Final = 12
"""Characters of a digest that are shown; versions are shorter."""


@dataclass(frozen=True)
class Artefact:
    """How one artefact of one scope stands."""

    scope: str
    """``corpus``, or the split's name."""
    key: str
    """Its asset key; that of a further seed's has ``seed-n`` in it, and is no asset."""
    state: str
    """``up to date``, ``stale``, or ``not made``."""
    why: str | None = None
    """Why it is stale, or what is wanted of it though it was never made."""
    difference: str | None = None
    """First difference between what it was made of and what there is now, in words."""
    wanted: bool = False
    """Whether a backfill makes it: stale, or never made and something stale is made of it."""

    @property
    def further(self) -> bool:
        """Whether it belongs to a further seed, which Dagster does not know."""
        return f"/{FURTHER}" in self.key


def survey(workspace: Workspace, recipes: Iterable[Recipe] = tuple(Recipe)) -> list[Artefact]:
    """Say of every artefact of the corpus and of some splits whether it is still what it would be.

    Parameters
    ----------
    workspace : whose records are read; nothing is made, no telemetry is opened.
    recipes : splits to look at.

    Returns
    -------
    In the order things are made: the corpus first, then split by split.
    """
    corpus = corpus_stages(workspace)
    shared = _states(CORPUS, corpus, None)
    first = next((found for found in shared if found.state == "stale"), None)
    found = []
    used: set[str] = set()
    for recipe in recipes:
        of_recipe = _states(str(recipe), _stages_of(workspace, recipe), first)
        if any(artefact.wanted for artefact in of_recipe):
            used.update(stage.key for stage in corpus)
        found += of_recipe
    shared = [_needed(artefact, used) for artefact in shared]
    return [*shared, *found]


def _stages_of(workspace: Workspace, recipe: Recipe) -> tuple[Stage, ...]:
    """Return a split's stages with the further seeds of its models before its last, the board."""
    *stages, board = recipe_stages(workspace, recipe)
    further = (s for s in further_stages(workspace, recipe) if s.record() is not None)
    return (*stages, *further, board)


def _needed(artefact: Artefact, used: set[str]) -> Artefact:
    if artefact.state != "not made" or artefact.key not in used:
        return artefact
    return Artefact(artefact.scope, artefact.key, "not made", "what is stale needs it", wanted=True)


def _states(scope: str, stages: Sequence[Stage], above: Artefact | None) -> list[Artefact]:
    """Return the state of each stage of one scope; ``above`` is what is stale in the corpus."""
    why: dict[str, str | None] = {}
    recorded = {stage.key: stage.record() for stage in stages}
    for stage in stages:
        reason = stage.outdated()
        over = next((key for key in stage.upstream if why.get(key) is not None), None)
        if reason is None and over is not None:
            reason = f"after {over}"
        if reason is None and not stage.upstream and above is not None and scope != CORPUS:
            reason = f"after {above.key}"
        why[stage.key] = reason if recorded[stage.key] is not None else None
    needed = {key for key, reason in why.items() if reason is not None}
    for stage in reversed(stages):
        if stage.key in needed:
            needed.update(key for key in stage.upstream if recorded.get(key) is None)
    found = []
    for stage in stages:
        record, reason = recorded[stage.key], why[stage.key]
        if record is None:
            told = "what is stale needs it" if stage.key in needed else None
            missing = stage.key in needed
            found.append(Artefact(scope, stage.key, "not made", told, wanted=missing))
        elif reason is None:
            found.append(Artefact(scope, stage.key, "up to date"))
        else:
            said = difference(stage, record)
            found.append(Artefact(scope, stage.key, "stale", reason, said, wanted=True))
    return found


def difference(stage: Stage, record: Record) -> str | None:
    """Say the first difference between a record's inputs and those of now; None if they agree.

    A feature schema is compared as data, by the file that was written beside the artefact.
    """
    inputs = stage.inputs()
    if inputs is None:
        return None
    changed = [
        name
        for name in sorted({*inputs, *record.inputs})
        if inputs.get(name) != record.inputs.get(name)
    ]
    schemas = [name for name in changed if name in _SCHEMA_INPUTS]
    if schemas and (said := _schema_difference(stage, record)) is not None:
        return said
    if "training" in changed and isinstance(stage, TrainedCheckpoint):
        said = _training_difference(stage)
        if said is not None:
            return said
    if not changed:
        return None
    name = changed[0]
    was, now = (values.get(name) for values in (record.inputs, inputs))
    return f"{name} was {_short(was)}, is {_short(now)}"


def _short(value: str | None) -> str:
    return "absent" if value is None else repr(value[:_SHOWN])


def _schema_difference(stage: Stage, record: Record) -> str | None:
    root = stage.workspace.paths.root
    for name in sorted(record.files):
        path = Path(name)
        if path.name not in _SCHEMA_FILES:
            continue
        within = _SCHEMA_FILES[path.name]
        try:
            content = read_object(root / path)
            saved = FeatureSchema.from_dict(content[within] if within else content)
        except (PipelineError, KeyError, TypeError):
            # Another kind of manifest, or damaged: that it differs is known, where is not.
            continue
        return first_difference(saved, feature_schema(saved.kind, saved.variant))
    return None


def _training_difference(stage: TrainedCheckpoint) -> str | None:
    try:
        saved = read_object(stage.folder / "checkpoint.json", "config")["config"]
    except (PipelineError, KeyError):
        return None
    wanted = {"seed": stage.seed, **stage.settings()}
    for name, value in sorted(wanted.items()):
        if name in saved and saved[name] != value:
            return f"{name} was {saved[name]!r}, is {value!r}"
    return None


def make_again(
    workspace: Workspace,
    recipe: Recipe,
    announce: Announce,
    only: Collection[str] | None = None,
) -> list[str]:
    """Make what is stale of the corpus and one split, and nothing else; no Dagster.

    Called again after an interruption it goes on: what was made meanwhile is up to date.

    Parameters
    ----------
    only : keys of what to make of that; by default all of it.

    Returns
    -------
    Keys of what was made.

    Raises
    ------
    PipelineError
        If something cannot be made or does not hold; what was finished before is kept.
    """
    keys = wanted_keys(survey(workspace, (recipe,)))
    stages = [
        stage
        for stage in (*corpus_stages(workspace), *_stages_of(workspace, recipe))
        if stage.key in keys and (only is None or stage.key in only)
    ]
    made = made_keys(make_stages(stages, announce=announce))
    require_sound(workspace, recipe)
    return made


def require_sound(workspace: Workspace, recipe: Recipe) -> None:
    """Ask the blocking checks of all that is made and up to date of one split.

    What is up to date is not made again: only this finds that an earlier check of it failed.

    Raises
    ------
    GateError
        As `require_current_passed`.
    """
    require_current_passed(_stages_of(workspace, recipe))


def wanted_keys(found: Iterable[Artefact]) -> set[str]:
    """Return keys of what a backfill makes."""
    return {artefact.key for artefact in found if artefact.wanted}

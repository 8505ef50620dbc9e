"""Stale artefacts, by recipe, and which of them to remake.

What was never made is not stale. Staleness propagates downstream, as an upper bound: an artefact
downstream of a stale one may turn out unchanged once that is remade.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cis490_pipeline.domain import Recipe
from cis490_pipeline.domain.catalogue import ON_REQUEST
from cis490_pipeline.errors import PipelineError
from cis490_pipeline.experiment.order import corpus_stages, further_stages, recipe_stages
from cis490_pipeline.experiment.pipeline.training import FURTHER, TrainedCheckpoint
from cis490_pipeline.experiment.stages.gates import require_current_passed
from cis490_pipeline.experiment.stages.make import made_keys, make_stages
from cis490_pipeline.experiment.stages.record import Record
from cis490_pipeline.experiment.stages.stage import Stage, changed_inputs
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.schema import FeatureSchema, feature_schema, first_difference
from cis490_pipeline.storage.files import read_object

CORPUS: Final = "corpus"
"""Scope of artefacts that do not depend on a recipe."""

_SCHEMA_INPUTS: Final = ("grid_schema", "summary_schema", "tensor_schema", "feature_schema")
_SCHEMA_FILES: Final = {
    # Where each kind of artefact stores its schema: file name -> key within.
    "feature_schema_v1.json": None,
    "checkpoint.json": "feature_schema",
    "manifest.json": "schema",
}
_ON_REQUEST: Final = tuple(f"model/{a}/{v}/" for a, v in ON_REQUEST)
_SHOWN: Final = 12
"""Characters shown of a digest."""


@dataclass(frozen=True)
class Artefact:
    """State of one artefact."""

    scope: str
    """``corpus``, or the recipe."""
    key: str
    """Its asset key, or the key of a model on request or of a further seed, which are no assets."""
    state: str
    """``up to date``, ``stale``, or ``not made``."""
    why: str | None = None
    """Why it is stale, or why it is needed although it was never made."""
    difference: str | None = None
    """First difference between its recorded and its current inputs."""
    wanted: bool = False
    """Whether a backfill makes it: it is stale, or never made and needed by a stale one."""

    @property
    def further(self) -> bool:
        """Whether it is of a variant on request or a further seed, both unknown to Dagster."""
        return f"/{FURTHER}" in self.key or self.key.startswith(_ON_REQUEST)


def survey(workspace: Workspace, recipes: Iterable[Recipe] = tuple(Recipe)) -> list[Artefact]:
    """Return the state of every artefact of the corpus and of the given recipes.

    Reads records only: nothing is made, no telemetry is opened. The order is that of making: the
    corpus first, then each recipe.
    """
    corpus = corpus_stages(workspace)
    shared = _states(CORPUS, corpus, None)
    first = next((artefact for artefact in shared if artefact.state == "stale"), None)
    artefacts: list[Artefact] = []
    used: set[str] = set()
    for recipe in recipes:
        of_recipe = _states(str(recipe), _stages_of(workspace, recipe), first)
        if any(artefact.wanted for artefact in of_recipe):
            used.update(stage.key for stage in corpus)
        artefacts += of_recipe
    shared = [
        replace(artefact, why="needed by what is stale", wanted=True)
        if artefact.state == "not made" and artefact.key in used
        else artefact
        for artefact in shared
    ]
    return [*shared, *artefacts]


def _stages_of(workspace: Workspace, recipe: Recipe) -> tuple[Stage, ...]:
    """Return a recipe's stages, with those that are no assets before the leaderboard."""
    *stages, board = recipe_stages(workspace, recipe)
    further = (s for s in further_stages(workspace, recipe) if s.record() is not None)
    return (*stages, *further, board)


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
    artefacts = []
    for stage in stages:
        record, reason = recorded[stage.key], why[stage.key]
        if record is None:
            missing = stage.key in needed
            need = "needed by what is stale" if missing else None
            artefacts.append(Artefact(scope, stage.key, "not made", need, wanted=missing))
        elif reason is None:
            artefacts.append(Artefact(scope, stage.key, "up to date"))
        else:
            changed = difference(stage, record)
            artefacts.append(Artefact(scope, stage.key, "stale", reason, changed, wanted=True))
    return artefacts


def difference(stage: Stage, record: Record) -> str | None:
    """Describe the first difference between recorded and current inputs; None if they agree.

    Feature schemas are compared by content, from the file written beside the artefact.
    """
    inputs = stage.inputs()
    if inputs is None:
        return None
    changed = changed_inputs(record.inputs, inputs)
    schemas = [name for name in changed if name in _SCHEMA_INPUTS]
    if schemas and (text := _schema_difference(stage, record)) is not None:
        return text
    if "training" in changed and isinstance(stage, TrainedCheckpoint):
        text = _training_difference(stage)
        if text is not None:
            return text
    if not changed:
        return None
    name = "quarantine" if "quarantine" in changed else changed[0]
    was, now = (values.get(name) for values in (record.inputs, inputs))
    if name == "quarantine":
        return f"quarantine was {was or 'empty'}, is {now or 'empty'}"
    return f"{name} was {_short(was)}, is {_short(now)}"


def explained(stage: Stage) -> str | None:
    """Return why a stage would be made now, and from what to what its inputs changed, if at all."""
    reason, record = stage.outdated(), stage.record()
    if reason is None or record is None:
        return reason
    changed = difference(stage, record)
    return f"{reason}; {changed}" if changed else reason


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
            # Another kind of manifest, or a damaged one: the place of the difference is unknown.
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
    workspace: Workspace, recipe: Recipe, only: Collection[str] | None = None
) -> list[str]:
    """Remake what is stale of the corpus and one recipe, without Dagster.

    After an interruption a second call continues: what was made meanwhile is up to date.

    Parameters
    ----------
    only : keys of artefacts to make; by default all that are stale.

    Returns
    -------
    Keys of the artefacts made.

    Raises
    ------
    PipelineError
        If an artefact cannot be made or a check fails; finished artefacts are kept.
    """
    keys = wanted_keys(survey(workspace, (recipe,)))
    stages = [
        stage
        for stage in (*corpus_stages(workspace), *_stages_of(workspace, recipe))
        if stage.key in keys and (only is None or stage.key in only)
    ]
    made = made_keys(make_stages(stages))
    require_sound(workspace, recipe)
    return made


def require_sound(workspace: Workspace, recipe: Recipe) -> None:
    """Require the blocking checks of all up-to-date artefacts of one recipe.

    What is up to date is not remade, so only this finds that one of its checks failed earlier.

    Raises
    ------
    GateError
        As `require_current_passed`.
    """
    require_current_passed(_stages_of(workspace, recipe))


def wanted_keys(artefacts: Iterable[Artefact]) -> set[str]:
    """Return the keys of artefacts that a backfill makes."""
    return {artefact.key for artefact in artefacts if artefact.wanted}

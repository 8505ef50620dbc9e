"""Blocking checks of a recipe's artefacts, evaluated on the files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from cis490_pipeline.domain import PHASES, Architecture, Recipe, Side, Source, Variant
from cis490_pipeline.domain.catalogue import MODELS
from cis490_pipeline.errors import PipelineError
from cis490_pipeline.experiment.pipeline.calibration import fitted_check
from cis490_pipeline.experiment.pipeline.corpus import GridShards
from cis490_pipeline.experiment.pipeline.dataset import (
    FeatureShards,
    TensorShards,
    ValidationIndex,
    WindowShards,
)
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.experiment.stages.stage import Stage
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.columns import stored_names
from cis490_pipeline.features.datasets.duplicates import near_duplicates
from cis490_pipeline.features.datasets.load import fit_calibrator, window_keys
from cis490_pipeline.features.datasets.window_index import check_leaks
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.schema import FeatureSchema, feature_schema, first_difference
from cis490_pipeline.storage.files import read_object
from cis490_pipeline.storage.parquet import read_table, scan_table

SIDES = (Side.TRAIN, Side.VAL, Side.TEST)


@dataclass(frozen=True)
class Finding:
    """Result of a check: passed or not, a sentence, and numbers."""

    passed: bool
    text: str
    numbers: Mapping[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """Condition that an artefact must meet before anything is made from it."""

    key: str
    """Key of the artefact's stage and asset."""
    name: str
    promise: str
    """Sentence that holds if it passes."""
    run: Callable[[Workspace, Recipe], Finding]

    def find(self, workspace: Workspace, recipe: Recipe) -> Finding:
        """Run the check; an unreadable artefact fails it."""
        try:
            return self.run(workspace, recipe)
        except PipelineError as fault:
            return Finding(False, str(fault))


CHECKS_VERSION: Final = "1"
"""Raised when a check changes, so that stored passes no longer count."""

CHECKS: Final[list[Check]] = []
"""All blocking checks of assets, in order."""

Run = Callable[[Workspace, Recipe], Finding]


def _check(key: str, name: str) -> Callable[[Run], Run]:
    """Register a check of an artefact, whose docstring begins with what it promises."""

    def register(run: Run) -> Run:
        CHECKS.append(Check(key, name, str(run.__doc__).splitlines()[0], run))
        return run

    return register


def _index(workspace: Workspace, recipe: Recipe) -> pl.DataFrame:
    return read_table(workspace.paths.validation_index(recipe))


@_check(ValidationIndex.key, "profiles_are_stratified")
def stratification(workspace: Workspace, recipe: Recipe) -> Finding:
    """Every profile is on the sides its recipe requires, or is listed as untested."""
    index = _index(workspace, recipe).filter(pl.col("profile").is_not_null())
    by_side = {side: set(index.filter(pl.col("side") == side)["profile"]) for side in SIDES}
    split = ValidationIndex(workspace, recipe).placed()
    tested = by_side[Side.TEST]
    problems = [
        f"{profile} is tested but never trained on"
        for profile in sorted(tested - by_side[Side.TRAIN])
    ]
    if recipe is not Recipe.TIME:
        problems += [
            f"{profile} is trained on but not in val"
            for profile in sorted(by_side[Side.TRAIN] - by_side[Side.VAL])
        ]
    named = {name for profiles in split.untested_profiles.values() for name in profiles}
    untested = by_side[Side.TRAIN] - tested
    problems += [f"{profile} is untested and not named" for profile in sorted(untested - named)]
    numbers = {f"profiles_{side}": len(profiles) for side, profiles in by_side.items()}
    return Finding(not problems, "; ".join(problems) or "every profile has its sides", numbers)


@_check(ValidationIndex.key, "sides_are_disjoint")
def disjoint_sides(workspace: Workspace, recipe: Recipe) -> Finding:
    """No episode, content, sample (sample split) or host (host split) is on two sides."""
    index = _index(workspace, recipe).filter(pl.col("side").is_in([str(side) for side in SIDES]))
    units = {"episode": "episode_id", "content": "content_digest"}
    if recipe is Recipe.SAMPLE:
        units["sample"] = "sample_name"
    problems, numbers = [], {}
    for name, column in units.items():
        shared = _on_two_sides(index, column)
        numbers[f"{name}s_on_two_sides"] = len(shared)
        problems += [
            f"{name} {unit} is on two sides"
            + (_episodes_of(index, unit) if name == "content" else "")
            for unit in shared
        ]
    if recipe is Recipe.HOST:
        # Validation may share a host with training where there is only one; test never may.
        test = set(index.filter(pl.col("side") == Side.TEST)["host_id"])
        rest = set(index.filter(pl.col("side") != Side.TEST)["host_id"])
        numbers["test_hosts_seen_before"] = len(test & rest)
        problems += [f"test host {host} is also trained on" for host in sorted(test & rest)]
    return Finding(not problems, "; ".join(problems) or "no unit is on two sides", numbers)


def _on_two_sides(index: pl.DataFrame, column: str) -> list[str]:
    sides = index.drop_nulls(column).group_by(column).agg(pl.col("side").n_unique())
    return sorted(sides.filter(pl.col("side") > 1)[column].to_list())


def _episodes_of(index: pl.DataFrame, content: str) -> str:
    """List the episodes of one content, since a digest alone does not identify them."""
    rows = index.filter(content_digest=content).sort("side", "episode_id")
    names = (f"{e} ({side})" for e, side in rows.select("episode_id", "side").iter_rows())
    return f": {', '.join(names)}"


@_check(ValidationIndex.key, "no_copy_on_two_sides")
def no_copies(workspace: Workspace, recipe: Recipe) -> Finding:
    """No telemetry is on two sides under two ids, rewritten, cut or moved to another host."""
    index = _index(workspace, recipe)
    pairs = near_duplicates(GridStore(GridShards(workspace).folder), index)
    text = "; ".join(map(str, pairs)) or "no telemetry is on two sides"
    return Finding(not pairs, text, {"copies_on_two_sides": len(pairs), "episodes": index.height})


@_check(FeatureShards.key, "files_match_digests")
def feature_digests(workspace: Workspace, recipe: Recipe) -> Finding:
    """Every file has the digest its manifest gives."""
    return _digests(FeatureShards(workspace, recipe))


@_check(TensorShards.key, "files_match_digests")
def tensor_digests(workspace: Workspace, recipe: Recipe) -> Finding:
    """Every file has the digest its manifest gives."""
    return _digests(TensorShards(workspace, recipe))


def _digests(stage: WindowShards) -> Finding:
    try:
        manifest = stage.open().manifest
    except PipelineError as error:
        return Finding(False, str(error))
    n_files = len(manifest.files)
    return Finding(True, f"{n_files} files have their digests", {"files": n_files})


@_check(FeatureShards.key, "schema_is_this_codes")
def feature_schema_current(workspace: Workspace, recipe: Recipe) -> Finding:
    """The stored feature schema is the one this code builds."""  # noqa: D401
    stage = FeatureShards(workspace, recipe)
    saved = FeatureSchema.from_dict(read_object(stage.folder / "feature_schema_v1.json"))
    current = feature_schema(stage.kind, Variant.ORACLE)
    difference = first_difference(saved, current)
    numbers = {"stored": saved.hash[:12], "current": current.hash[:12]}
    return Finding(difference is None, difference or "the same schema", numbers)


@_check(FeatureShards.key, "features_are_finite")
def finite_features(workspace: Workspace, recipe: Recipe) -> Finding:
    """No feature is infinite; unknown ones are counted by source."""
    stage = FeatureShards(workspace, recipe)
    names = stored_names(stage.kind, Variant.ORACLE)
    # Digests are verified first: polars' behaviour on damaged files is undefined.
    tables = stage.open().tables()
    frame = pl.concat(scan_table(table) for table in tables)
    n_infinite = frame.select(
        pl.sum_horizontal(pl.col(name).is_infinite().sum() for name in names)
    ).collect()
    unknown = frame.select(
        pl.mean_horizontal(
            pl.col(name).is_nan().mean() for name in names if name.startswith(f"{source}.")
        ).alias(f"unknown_share_{source}")
        for source in Source
    ).collect()
    count = int(n_infinite.item())
    numbers: dict[str, int | float | str] = {"infinite": count, **unknown.row(0, named=True)}
    return Finding(count == 0, f"{count} infinite features", numbers)


@_check(TensorShards.key, "no_window_on_two_sides")
def disjoint_windows(workspace: Workspace, recipe: Recipe) -> Finding:
    """No two windows on different sides overlap in an episode."""
    dataset = TensorShards(workspace, recipe).open()
    windows = pl.concat([window_keys(dataset, side, include_baseline=True) for side in SIDES])
    leaks = check_leaks(windows)
    return Finding(leaks == 0, f"{leaks} leaks among {windows.height} windows", {"leaks": leaks})


@_check(TensorShards.key, "every_phase_is_trained")
def class_presence(workspace: Workspace, recipe: Recipe) -> Finding:
    """Every phase has training and validation windows."""
    dataset = TensorShards(workspace, recipe).open()
    numbers: dict[str, int | float | str] = {}
    missing = []
    for side in (Side.TRAIN, Side.VAL):
        phases = window_keys(dataset, side)["phase"]
        for phase in PHASES:
            count = int((phases == phase).sum())
            numbers[f"{side}_{phase}"] = count
            if count == 0:
                missing.append(f"{side} has no window of {phase}")
    return Finding(not missing, "; ".join(missing) or "every phase is there", numbers)


def golden_vectors(stage: TrainedCheckpoint) -> Finding:
    """Check that the saved checkpoint reproduces its golden vectors."""
    from cis490_pipeline.models.registry import restore

    try:
        # ``restore`` compares the golden vectors and raises at the first difference.
        checkpoint = stage.load()
        restore(checkpoint)
    except PipelineError as error:
        return Finding(False, str(error))
    n_golden = len(checkpoint.golden.inputs)
    return Finding(True, f"{n_golden} golden vectors reproduced", {"golden_vectors": n_golden})


def fitted_on_train(stage: TrainedCheckpoint) -> Finding:
    """Check that a checkpoint's calibration and cleanliness check were fitted on train alone.

    Both are refitted on the train side and compared by digest, which differs if other data were
    used. Weights are not retrained; see docs/concepts/leaks.md.
    """
    checkpoint = stage.load()
    used = checkpoint.calibrator
    calibrator = fit_calibrator(
        stage.dataset.open(),
        stage.variant,
        used.mode,
        gauges=used.gauges,
        scaling=used.scaling,
        quarantine=stage.workspace.settings.quarantine,
    )
    check, _ = fitted_check(stage.workspace, stage.recipe)
    pairs = {
        "calibration": (used.digest, calibrator.digest),
        "cleanliness check": (
            checkpoint.cleanliness.digest if checkpoint.cleanliness is not None else "none",
            check.digest if check is not None else "none",
        ),
    }
    problems = [
        f"{stage.name}: the {what} has digest {used_digest:.12}, fitted on train alone it has "
        f"{wanted:.12}: it was fitted on something else; train the model again"
        for what, (used_digest, wanted) in pairs.items()
        if used_digest != wanted
    ]
    text = "; ".join(problems) or "calibration and cleanliness check are those of train alone"
    return Finding(not problems, text, {"calibration": used.digest[:12]})


def _checks_of_model(
    key: str, architecture: Architecture, variant: Variant, seed: int | None = None
) -> list[Check]:
    def of_stage(run: Callable[[TrainedCheckpoint], Finding]) -> Callable[..., Finding]:
        return lambda workspace, recipe: run(
            TrainedCheckpoint(workspace, recipe, architecture, variant, seed=seed)
        )

    return [
        Check(
            key,
            "fitted_on_train_alone",
            "Calibration and cleanliness check are fitted on train alone.",
            of_stage(fitted_on_train),
        ),
        Check(
            key,
            "reproduces_golden_vectors",
            "The saved checkpoint, loaded again, reproduces its golden probabilities.",
            of_stage(golden_vectors),
        ),
    ]


for _model in MODELS:
    CHECKS.extend(_checks_of_model("/".join(("model", *_model, "checkpoint")), *_model))


def checks_of(stage: Stage) -> list[Check]:
    """Return all blocking checks of one artefact, including models of further seeds."""
    if isinstance(stage, TrainedCheckpoint):
        return _checks_of_model(stage.key, stage.architecture, stage.variant, stage.seed)
    return [check for check in CHECKS if check.key == stage.key]


def failure(check: Check, finding: Finding) -> str:
    """Format a failed check."""
    return f"{check.key}: check {check.name} failed: {finding.text}"

"""Blocking checks of a recipe's artefacts, evaluated on the files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import polars as pl

from cis490_pipeline.domain import PHASES, Architecture, Recipe, Side, Source, Variant
from cis490_pipeline.domain.catalogue import MODELS
from cis490_pipeline.errors import GateError, PipelineError
from cis490_pipeline.experiment.pipeline.calibration import fitted_check
from cis490_pipeline.experiment.pipeline.corpus import GridShards
from cis490_pipeline.experiment.pipeline.dataset import FeatureShards, TensorShards, ValidationIndex
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.experiment.stages.stage import Stage
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.datasets.duplicates import near_duplicates
from cis490_pipeline.features.datasets.load import fit_calibrator, window_keys
from cis490_pipeline.features.datasets.window_index import check_leaks
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.schema import FeatureSchema, feature_schema, first_difference
from cis490_pipeline.features.summary import summary_names
from cis490_pipeline.storage.files import read_object
from cis490_pipeline.storage.parquet import read_table, scan_table

SIDES = (Side.TRAIN, Side.VAL, Side.TEST)


@dataclass(frozen=True)
class Finding:
    """Result of a check: passed or not, a sentence, and numbers."""

    passed: bool
    text: str
    numbers: Mapping[str, int | float | str] = field(default_factory=dict)


def _index(workspace: Workspace, recipe: Recipe) -> pl.DataFrame:
    return read_table(workspace.paths.validation_index(recipe))


def stratification(workspace: Workspace, recipe: Recipe) -> Finding:
    """Check that every profile is in train, and on the test side or named as untested there."""
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


def disjoint_sides(workspace: Workspace, recipe: Recipe) -> Finding:
    """Check that no episode, content, or held-out unit is on two sides."""
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


def no_copies(workspace: Workspace, recipe: Recipe) -> Finding:
    """Check that no telemetry is on two sides under two ids, however its files were written."""
    index = _index(workspace, recipe)
    grids = GridStore(GridShards(workspace).folder)
    pairs = near_duplicates(grids, index)
    text = "; ".join(map(str, pairs)) or "no telemetry is on two sides"
    return Finding(not pairs, text, {"copies_on_two_sides": len(pairs), "episodes": index.height})


def feature_digests(workspace: Workspace, recipe: Recipe) -> Finding:
    """Check the feature dataset's files against its manifest."""
    return _digests(FeatureShards(workspace, recipe))


def tensor_digests(workspace: Workspace, recipe: Recipe) -> Finding:
    """Check the tensor dataset's files against its manifest."""
    return _digests(TensorShards(workspace, recipe))


def _digests(stage: FeatureShards | TensorShards) -> Finding:
    try:
        manifest = stage.open().manifest
    except PipelineError as error:
        return Finding(False, str(error))
    n_files = len(manifest.files)
    return Finding(True, f"{n_files} files have their digests", {"files": n_files})


def feature_schema_current(workspace: Workspace, recipe: Recipe) -> Finding:
    """Check that the stored schema is the one this code builds."""
    folder = FeatureShards(workspace, recipe).folder
    saved = FeatureSchema.from_dict(read_object(folder / "feature_schema_v1.json"))
    current = feature_schema("summary", Variant.ORACLE)
    difference = first_difference(saved, current)
    numbers = {"stored": saved.hash[:12], "current": current.hash[:12]}
    return Finding(difference is None, difference or "the same schema", numbers)


def finite_features(workspace: Workspace, recipe: Recipe) -> Finding:
    """Check that no feature is infinite, and count the unknown ones by source."""
    names = summary_names(Variant.ORACLE)
    # Digests are verified first: polars' behaviour on damaged files is undefined.
    tables = FeatureShards(workspace, recipe).open().tables()
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


def disjoint_windows(workspace: Workspace, recipe: Recipe) -> Finding:
    """Check that no two overlapping windows are on different sides."""
    dataset = TensorShards(workspace, recipe).open()
    windows = pl.concat([window_keys(dataset, side, include_baseline=True) for side in SIDES])
    leaks = check_leaks(windows)
    return Finding(leaks == 0, f"{leaks} leaks among {windows.height} windows", {"leaks": leaks})


def class_presence(workspace: Workspace, recipe: Recipe) -> Finding:
    """Check that every phase has training and validation windows."""
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


def golden_vectors(
    workspace: Workspace,
    recipe: Recipe,
    architecture: Architecture,
    variant: Variant,
    *,
    seed: int | None = None,
) -> Finding:
    """Check that the saved checkpoint reproduces its golden vectors."""
    from cis490_pipeline.models.registry import restore

    stage = TrainedCheckpoint(workspace, recipe, architecture, variant, seed=seed)
    try:
        # ``restore`` compares the golden vectors and raises at the first difference.
        checkpoint = stage.load()
        restore(checkpoint)
    except PipelineError as error:
        return Finding(False, str(error))
    n_golden = len(checkpoint.golden.inputs)
    return Finding(True, f"{n_golden} golden vectors reproduced", {"golden_vectors": n_golden})


def fitted_on_train(
    workspace: Workspace,
    recipe: Recipe,
    architecture: Architecture,
    variant: Variant,
    *,
    seed: int | None = None,
) -> Finding:
    """Check that a checkpoint's calibration and cleanliness check were fitted on train alone.

    Both are refitted on the train side and compared by digest, which differs if other data were
    used. Weights are not retrained; see docs/concepts/leaks.md.
    """
    stage = TrainedCheckpoint(workspace, recipe, architecture, variant, seed=seed)
    checkpoint = stage.load()
    used = checkpoint.calibrator
    calibrator = fit_calibrator(
        stage.dataset.open(),
        variant,
        used.mode,
        gauges=used.gauges,
        scaling=used.scaling,
    )
    check, _ = fitted_check(workspace, recipe)
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


_OF_A_MODEL: Final = (
    (
        "fitted_on_train_alone",
        "Calibration and cleanliness check are fitted on train alone.",
        fitted_on_train,
    ),
    (
        "reproduces_golden_vectors",
        "The saved checkpoint, loaded again, reproduces its golden probabilities.",
        golden_vectors,
    ),
)

CHECKS_VERSION: Final = "1"
"""Raised when a check changes, so that stored passes no longer count."""

CHECKS: Final[tuple[Check, ...]] = (
    Check(
        ValidationIndex.key,
        "profiles_are_stratified",
        "Every profile is on the sides its recipe requires, or is listed as untested.",
        stratification,
    ),
    Check(
        ValidationIndex.key,
        "sides_are_disjoint",
        "No episode, content, sample (sample split) or host (host split) is on two sides.",
        disjoint_sides,
    ),
    Check(
        ValidationIndex.key,
        "no_copy_on_two_sides",
        "No telemetry is on two sides under two ids, rewritten, cut or moved to another host.",
        no_copies,
    ),
    Check(
        FeatureShards.key,
        "files_match_digests",
        "Every file has the digest its manifest gives.",
        feature_digests,
    ),
    Check(
        FeatureShards.key,
        "schema_is_this_codes",
        "The stored feature schema is the one this code builds.",
        feature_schema_current,
    ),
    Check(
        FeatureShards.key,
        "features_are_finite",
        "No feature is infinite; unknown ones are counted by source.",
        finite_features,
    ),
    Check(
        TensorShards.key,
        "files_match_digests",
        "Every file has the digest its manifest gives.",
        tensor_digests,
    ),
    Check(
        TensorShards.key,
        "no_window_on_two_sides",
        "No two windows on different sides overlap in an episode.",
        disjoint_windows,
    ),
    Check(
        TensorShards.key,
        "every_phase_is_trained",
        "Every phase has training and validation windows.",
        class_presence,
    ),
    *(
        Check(
            f"model/{architecture}/{variant}/checkpoint",
            name,
            promise,
            partial(run, architecture=architecture, variant=variant),
        )
        for name, promise, run in _OF_A_MODEL
        for architecture, variant in MODELS
    ),
)


def checks_of(stage: Stage) -> list[Check]:
    """Return all blocking checks of one artefact, including models of further seeds."""
    if isinstance(stage, TrainedCheckpoint):
        return [
            Check(
                stage.key,
                name,
                promise,
                partial(
                    run, architecture=stage.architecture, variant=stage.variant, seed=stage.seed
                ),
            )
            for name, promise, run in _OF_A_MODEL
        ]
    return [check for check in CHECKS if check.key == stage.key]


def failure(check: Check, finding: Finding) -> str:
    """Format a failed check."""
    return f"{check.key}: check {check.name} failed: {finding.text}"


def require_passed(workspace: Workspace, recipe: Recipe, key: str) -> None:
    """Run every check of one artefact.

    Raises
    ------
    GateError
        Naming each check that failed and what it found.
    """
    failed = [
        failure(check, finding)
        for check in CHECKS
        if check.key == key and not (finding := check.find(workspace, recipe)).passed
    ]
    if failed:
        raise GateError("; ".join(failed))

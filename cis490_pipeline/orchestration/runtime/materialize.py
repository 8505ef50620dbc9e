"""Materialize a recipe in this process, recorded in the storage that the UI reads."""

import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import dagster as dg

from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import GateError, PipelineError
from cis490_pipeline.experiment.leaderboard import Leaderboard
from cis490_pipeline.experiment.order import corpus_stages, recipe_stages
from cis490_pipeline.experiment.stages.side_by_side import Planned
from cis490_pipeline.experiment.stages.stage import UP_TO_DATE, Stage, StageResult
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.upkeep.stale import Artefact, make_again, require_sound
from cis490_pipeline.orchestration import dagster_internals as internals
from cis490_pipeline.orchestration.assets.checks import checks
from cis490_pipeline.orchestration.definitions import corpus_assets, recipe_assets

_GATE_PREFIX: Final = f"{GateError.__module__}.{GateError.__qualname__}: "
"""Prefix that Dagster adds to the message of an error raised in an asset."""


@contextmanager
def instance_of(workspace: Workspace) -> Iterator[dg.DagsterInstance]:
    """Open Dagster's storage in the data folder, or the one that DAGSTER_HOME sets.

    ``dagster dev`` at the project root opens the same storage, so that the UI shows what was
    materialized here.
    """
    if internals.is_dagster_home_set():
        with dg.DagsterInstance.get() as instance:
            yield instance
        return
    home = workspace.paths.dagster.resolve()
    home.mkdir(parents=True, exist_ok=True)
    with _without_query(home) as base:
        overrides = {
            "storage": {"sqlite": {"base_dir": str(base)}},
            "local_artifact_storage": {
                **internals.ARTIFACT_STORAGE,
                "config": {"base_dir": str(base)},
            },
            "compute_logs": internals.NO_COMPUTE_LOGS,
            "telemetry": {"enabled": False},
        }
        ref = internals.InstanceRef.from_dir(str(base), overrides=overrides)
        with dg.DagsterInstance.from_ref(ref) as instance:
            yield instance


@contextmanager
def _storage_named(workspace: Workspace) -> Iterator[None]:
    """Add the path of Dagster's storage to its errors: SQLite says "disk is full" and not where."""
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except DBAPIError as fault:
        home = os.environ.get("DAGSTER_HOME") or workspace.paths.dagster
        raise PipelineError(
            f"{home}: Dagster's storage cannot be used: {fault.orig}; free space there, or run "
            "with --no-dagster"
        ) from fault


@contextmanager
def _without_query(folder: Path) -> Iterator[Path]:
    """Yield a path to a folder without ``?`` in it, through a temporary link if needed.

    Dagster builds ``sqlite:///FOLDER/runs.db`` from it, where ``?`` would start a query and put the
    files in another folder.
    """
    if "?" not in str(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="cis490-dagster-") as temporary:
        link = Path(temporary) / "home"
        link.symlink_to(folder, target_is_directory=True)
        yield link


def materialize_recipe(
    workspace: Workspace, recipe: Recipe, only: Collection[str] | None = None
) -> list[str]:
    """Bring one recipe up to date, making only what is outdated, and record it in Dagster.

    Parameters
    ----------
    only : keys of stages to consider; by default all.

    Returns
    -------
    Keys of the stages made or recorded now; empty if everything was up to date.

    Raises
    ------
    PipelineError
        If a step or a blocking check failed; finished stages are kept.
    """
    shared, own = (
        tuple(stage for stage in stages if only is None or stage.key in only)
        for stages in (corpus_stages(workspace), recipe_stages(workspace, recipe))
    )
    for stage in own:
        stage.require_possible()
    with _storage_named(workspace), instance_of(workspace) as instance:
        done = _materialize(workspace, instance, shared, corpus_assets, None)
        done += _materialize(workspace, instance, own, recipe_assets, recipe)
    require_sound(workspace, recipe)
    return done


def backfill_recipe(
    workspace: Workspace, recipe: Recipe, wanted: Collection[Artefact]
) -> list[str]:
    """Remake what is outdated in one recipe: assets, what is none, then the leaderboard.

    Parameters
    ----------
    wanted : artefacts to make, from `survey`.

    Returns
    -------
    Keys of the stages made or recorded now.

    Raises
    ------
    PipelineError
        As `materialize_recipe`.
    """
    further = {artefact.key for artefact in wanted if artefact.further}
    assets = {artefact.key for artefact in wanted} - further
    # The leaderboard covers all seeds and variants, so it waits for what is no asset.
    last = {Leaderboard.key} & assets if further else set()
    done = materialize_recipe(workspace, recipe, only=assets - last)
    if further:
        done += make_again(workspace, recipe, only=further)
        done += materialize_recipe(workspace, recipe, only=last)
    return done


def _materialize(
    workspace: Workspace,
    instance: dg.DagsterInstance,
    stages: tuple[Stage, ...],
    assets: list[dg.AssetsDefinition],
    recipe: Recipe | None,
) -> list[str]:
    wanted = _outdated(stages, instance, recipe)
    for stage in stages:
        record = stage.record()
        if stage.key not in wanted and record is not None:
            workspace.announce(stage.unchanged(record))
    if not wanted:
        return []
    keys = [dg.AssetKey(key.split("/")) for key in wanted]
    selection = dg.AssetSelection.assets(*keys)

    def announce(found: StageResult) -> None:
        """Announce as it is there; of what is only recorded, why it was asked for."""
        reason = wanted[found.record.key]
        only_recorded = not found.made and reason.startswith(UP_TO_DATE)
        workspace.announce(replace(found, why=reason) if only_recorded else found)

    planned = Planned(stage for stage in stages if stage.key in wanted)
    opened = workspace.with_listeners(workspace.progress, announce).with_plan(planned)
    result = dg.materialize(
        [*assets, *(checks if recipe else [])],
        selection=selection | dg.AssetSelection.checks_for_assets(*keys),
        partition_key=str(recipe) if recipe else None,
        instance=instance,
        resources={"workspace": dg.ResourceDefinition.hardcoded_resource(opened)},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
    )
    if not result.success:
        if _interrupted(result):
            raise KeyboardInterrupt
        raise _fault(result)
    return list(wanted)


def _outdated(
    stages: tuple[Stage, ...], instance: dg.DagsterInstance, recipe: Recipe | None
) -> dict[str, str]:
    """Return the stages to run, in order, and why: outdated, downstream of one, or unrecorded.

    A check stops only the run it is in, so a stage whose checks have not passed runs again.
    """
    wanted: dict[str, str] = {}
    for stage in stages:
        reason = stage.outdated()
        above = next((key for key in stage.upstream if key in wanted), None)
        if above is not None:
            # If it turns out to be current once that is made, it is only recorded.
            reason = f"after {above}"
        if reason is None and not _recorded(stage, instance, recipe):
            reason = "up to date, not yet in Dagster"
        if reason is None:
            reason = _unpassed(stage, instance, recipe)
        if reason is not None:
            wanted[stage.key] = reason
    return wanted


def _recorded(stage: Stage, instance: dg.DagsterInstance, recipe: Recipe | None) -> bool:
    record = stage.record()
    newest = instance.fetch_materializations(
        dg.AssetRecordsFilter(
            asset_key=dg.AssetKey(stage.key.split("/")),
            asset_partitions=[str(recipe)] if recipe else None,
        ),
        limit=1,
    ).records
    if not newest or record is None or newest[0].asset_materialization is None:
        return False
    digest = newest[0].asset_materialization.metadata.get("digest")
    return digest is not None and digest.value == record.digest


def _unpassed(stage: Stage, instance: dg.DagsterInstance, recipe: Recipe | None) -> str | None:
    """Return which checks of a stage have not passed on its latest record; None if all have."""
    asset = dg.AssetKey(stage.key.split("/"))
    keys = sorted(key for check in checks for key in check.check_keys if key.asset_key == asset)
    if not keys or recipe is None:
        return None
    infos = instance.event_log_storage.get_asset_check_partition_info(
        keys, partition_keys=[str(recipe)]
    )
    passed = {
        info.check_key
        for info in infos
        if info.is_current
        and info.latest_execution_status is internals.AssetCheckExecutionRecordStatus.SUCCEEDED
    }
    unpassed = [key.name for key in keys if key not in passed]
    return f"up to date, not yet passed: {', '.join(unpassed)}" if unpassed else None


def _interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Whether the run was interrupted, which Dagster reports as a failed step."""
    errors = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    return any(
        e and e.cls_name == internals.DagsterExecutionInterruptedError.__name__ for e in errors
    )


def _fault(result: dg.ExecuteInProcessResult) -> PipelineError:
    lines, held = [], []
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            cause = error.cause if error and error.cause else error
            if cause and cause.cls_name == internals.ASSET_CHECK_FAILED:
                continue  # reported below, with the finding of the check
            if cause and cause.cls_name == GateError.__name__:
                held.append(cause.message.strip().removeprefix(_GATE_PREFIX))
                continue
            lines.append(f"{event.step_key}: {cause.message.strip() if cause else 'failed'}")
    of_asset: dict[str, list[str]] = {}
    for evaluation in result.get_asset_check_evaluations():
        if not evaluation.passed:
            key = evaluation.asset_key.to_user_string()
            text = f"{key}: check {evaluation.check_name} failed: {evaluation.description}"
            of_asset.setdefault(key, []).append(text)
    # One gate may stop many steps: report it once.
    gates = list(dict.fromkeys([*("; ".join(texts) for texts in of_asset.values()), *held]))
    text = "; ".join([*lines, *gates]) or f"run {result.run_id} failed"
    return GateError(text) if gates and not lines else PipelineError(text)

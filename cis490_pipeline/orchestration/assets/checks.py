"""Asset checks: blocking checks of a recipe's data, and checks that only warn.

Dagster stops only the run in which a check fails. Assets therefore require the checks of all their
inputs themselves, in `make_stages`, so that a gate holds in every later run, whatever it selects.
"""

import warnings
from collections.abc import Iterator, Sequence

import dagster as dg

from cis490_pipeline.compute.progress import working
from cis490_pipeline.domain import Recipe
from cis490_pipeline.experiment.order import recipe_stages
from cis490_pipeline.experiment.pipeline.dataset import RecipeStage
from cis490_pipeline.experiment.stages.gates import ask
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.upkeep.checks import CHECKS, Check, Finding
from cis490_pipeline.experiment.upkeep.warnings import (
    DRIFT,
    UPLOADS,
    VANISHED,
    new_episode_drift,
    no_vanished,
    sound_uploads,
)
from cis490_pipeline.orchestration.assets.recording import recipes, shown
from cis490_pipeline.orchestration.runtime.step_log import logged


def _result(
    made: Check, finding: Finding, severity: dg.AssetCheckSeverity, partition: str | None = None
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=finding.passed,
        asset_key=dg.AssetKey(made.key.split("/")),
        check_name=made.name,
        description=finding.text,
        metadata=_plotted(finding, partition),
        severity=severity,
    )


def _plotted(finding: Finding, partition: str | None) -> dict[str, float | str]:
    """Return the numbers of a finding, as floats and named by partition.

    The UI plots a check's numbers over time, one line for each name, whatever the partition: lines
    of three recipes under one name would be one zigzag.
    """
    of = f" ({partition})" if partition else ""
    return {
        f"{name}{of}": value if isinstance(value, str) else float(value)
        for name, value in shown(finding.numbers).items()
    }


def _asset_checks(key: str, group: Sequence[Check]) -> dg.AssetChecksDefinition:
    """Group the blocking checks of one asset into one step, which saves a process for each."""
    with warnings.catch_warnings():
        # Partitioned checks are a preview feature of Dagster; tests cover what is used of them.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        specs = [
            dg.AssetCheckSpec(
                check.name,
                asset=dg.AssetKey(key.split("/")),
                description=check.promise,
                blocking=True,
                partitions_def=recipes,
            )
            for check in group
        ]

    @dg.multi_asset_check(name=f"checks_of_{key.replace('/', '_')}", specs=specs, can_subset=True)
    def run_checks(
        context: dg.AssetCheckExecutionContext, workspace: dg.ResourceParam[Workspace]
    ) -> Iterator[dg.AssetCheckResult]:
        wanted = {chosen.name for chosen in context.selected_asset_check_keys}
        recipe = Recipe(context.partition_key)
        with logged(workspace, context) as opened:
            stage = next(s for s in recipe_stages(opened, recipe) if s.key == key)
            assert isinstance(stage, RecipeStage), "checks are of a recipe's artefacts"
            found = ask(stage, [check for check in group if check.name in wanted])
        for check, finding in found:
            yield _result(check, finding, dg.AssetCheckSeverity.ERROR, recipe)

    return run_checks


@dg.asset_check(asset=dg.AssetKey(DRIFT.key.split("/")), name=DRIFT.name, description=DRIFT.promise)
def drift(
    context: dg.AssetCheckExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.AssetCheckResult:
    """Warn of hosts whose new episodes are not distributed as their earlier ones."""
    with logged(workspace, context) as opened, working(opened.progress, DRIFT.name):
        finding = new_episode_drift(opened)
    return _result(DRIFT, finding, dg.AssetCheckSeverity.WARN)


@dg.asset_check(
    asset=dg.AssetKey(UPLOADS.key.split("/")), name=UPLOADS.name, description=UPLOADS.promise
)
def uploads_are_sound(workspace: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    """Warn of unusable uploads in the newest sweep."""
    return _result(UPLOADS, sound_uploads(workspace), dg.AssetCheckSeverity.WARN)


@dg.asset_check(
    asset=dg.AssetKey(VANISHED.key.split("/")), name=VANISHED.name, description=VANISHED.promise
)
def no_episode_vanished(workspace: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    """Warn of episodes that have a verdict and are not in the store."""
    return _result(VANISHED, no_vanished(workspace), dg.AssetCheckSeverity.WARN)


checks = [
    _asset_checks(key, [check for check in CHECKS if check.key == key])
    for key in dict.fromkeys(check.key for check in CHECKS)
]
"""Blocking checks; `cis490 run` continues only if they pass."""
warning_checks = [drift, uploads_are_sound, no_episode_vanished]
"""Checks that warn and block nothing."""

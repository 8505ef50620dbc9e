"""Checks: those that stop a recipe before a model is trained on it, and those that only warn.

Dagster stops only the run that a check fails in. Assets therefore ask the checks of all they are
made of themselves, by `make_stages`: a gate holds in every later run, whatever that selects.
"""

import warnings
from collections.abc import Iterator, Sequence

import dagster as dg

from cis490_pipeline.domain import Recipe
from cis490_pipeline.experiment.order import recipe_stages
from cis490_pipeline.experiment.pipeline.dataset import RecipeStage
from cis490_pipeline.experiment.stages.gates import ask
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.upkeep.checks import CHECKS, Check, Finding
from cis490_pipeline.experiment.upkeep.warnings import DRIFT, UPLOADS, sound_uploads
from cis490_pipeline.orchestration.assets.partitions import recipes


def _result(made: Check, finding: Finding, severity: dg.AssetCheckSeverity) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=finding.passed,
        asset_key=dg.AssetKey(made.key.split("/")),
        check_name=made.name,
        description=finding.text,
        metadata=dict(finding.numbers),
        severity=severity,
    )


def _asset_checks(key: str, group: Sequence[Check]) -> dg.AssetChecksDefinition:
    """Return the blocking checks of one asset as one step: a process for each would cost more."""
    with warnings.catch_warnings():
        # Dagster calls partitioned checks a preview; our tests hold what we need of them.
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
        stage = next(s for s in recipe_stages(workspace, recipe) if s.key == key)
        assert isinstance(stage, RecipeStage), "checks are of a recipe's artefacts"
        for check, finding in ask(stage, [check for check in group if check.name in wanted]):
            yield _result(check, finding, dg.AssetCheckSeverity.ERROR)

    return run_checks


def _drift_check() -> dg.AssetChecksDefinition:
    def check(
        context: dg.AssetCheckExecutionContext, workspace: dg.ResourceParam[Workspace]
    ) -> dg.AssetCheckResult:
        finding = DRIFT.find(workspace, Recipe(context.partition_key))
        return _result(DRIFT, finding, dg.AssetCheckSeverity.WARN)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        decorate = dg.asset_check(
            asset=dg.AssetKey(DRIFT.key.split("/")),
            name=DRIFT.name,
            description=DRIFT.promise,
            partitions_def=recipes,
        )
        return decorate(check)


@dg.asset_check(
    asset=dg.AssetKey(UPLOADS.key.split("/")),
    name=UPLOADS.name,
    description=UPLOADS.promise,
)
def uploads_are_sound(workspace: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    """Warn of uploads of the newest sweep that cannot be used."""
    return _result(UPLOADS, sound_uploads(workspace), dg.AssetCheckSeverity.WARN)


_BY_ASSET = {
    key: [check for check in CHECKS if check.key == key]
    for key in dict.fromkeys(check.key for check in CHECKS)
}

checks = [_asset_checks(key, group) for key, group in _BY_ASSET.items()]
"""What must hold; `cis490 run` goes on only when they pass."""
warning_checks = [_drift_check(), uploads_are_sound]
"""What a person should know."""

"""Checks: those that stop a recipe before a model is trained on it, and those that only warn.

A check that failed in an earlier run does not stop a later, separate run; the training stage
therefore asserts digests and "no leak" itself, on reading.
"""

import warnings

import dagster as dg

from cis490_pipeline.domain import Recipe
from cis490_pipeline.experiment.arrivals import DRIFT, UPLOADS, sound_uploads
from cis490_pipeline.experiment.verify import CHECKS, Check, Finding
from cis490_pipeline.experiment.workspace import Workspace
from cis490_pipeline.orchestration.partitions import recipes


def _result(finding: Finding, severity: dg.AssetCheckSeverity) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=finding.passed,
        description=finding.text,
        metadata=dict(finding.numbers),
        severity=severity,
    )


def _asset_check(made: Check, *, blocking: bool) -> dg.AssetChecksDefinition:
    severity = dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN

    def check(
        context: dg.AssetCheckExecutionContext, workspace: dg.ResourceParam[Workspace]
    ) -> dg.AssetCheckResult:
        return _result(made.find(workspace, Recipe(context.partition_key)), severity)

    with warnings.catch_warnings():
        # Dagster calls partitioned checks a preview; our tests hold what we need of them.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        decorate = dg.asset_check(
            asset=dg.AssetKey(made.key.split("/")),
            name=made.name,
            description=made.promise,
            blocking=blocking,
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
    return _result(sound_uploads(workspace), dg.AssetCheckSeverity.WARN)


checks = [_asset_check(check, blocking=True) for check in CHECKS]
"""What must hold; `cis490 run` goes on only when they pass."""
warning_checks = [_asset_check(DRIFT, blocking=False), uploads_are_sound]
"""What a person should know."""

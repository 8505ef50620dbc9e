"""Blocking checks, one run per partition: what must stop a recipe before a model is trained on it.

A check that failed in an earlier run does not stop a later, separate run; the training stage
therefore asserts digests and "no leak" itself, on reading.
"""

import warnings

import dagster as dg

from cis490_pipeline.domain import Recipe
from cis490_pipeline.experiment.verify import CHECKS, Check
from cis490_pipeline.experiment.workspace import Workspace
from cis490_pipeline.orchestration.partitions import recipes


def _asset_check(made: Check) -> dg.AssetChecksDefinition:
    def check(
        context: dg.AssetCheckExecutionContext, workspace: dg.ResourceParam[Workspace]
    ) -> dg.AssetCheckResult:
        finding = made.find(workspace, Recipe(context.partition_key))
        return dg.AssetCheckResult(
            passed=finding.passed, description=finding.text, metadata=dict(finding.numbers)
        )

    with warnings.catch_warnings():
        # Dagster calls partitioned checks a preview; our tests hold what we need of them.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        decorate = dg.asset_check(
            asset=dg.AssetKey(made.key.split("/")),
            name=made.name,
            description=made.promise,
            blocking=True,
            partitions_def=recipes,
        )
        return decorate(check)


checks = [_asset_check(check) for check in CHECKS]

"""Unpartitioned assets, which do not depend on a recipe: verdicts and grids."""

from datetime import timedelta
from typing import Final

import dagster as dg

from cis490_pipeline.experiment.pipeline.corpus import GridShards, ValidationSweep
from cis490_pipeline.experiment.stages.stage import Stage
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.schema import grid_schema
from cis490_pipeline.orchestration.assets.recording import (
    OWNER,
    Metadata,
    made_in_step,
    parquet_files,
    table_metadata,
)
from cis490_pipeline.store.verdicts.validate import RULES_VERSION

NIGHTLY: Final = dg.FreshnessPolicy.time_window(
    fail_window=timedelta(days=7), warn_window=timedelta(hours=50)
)
"""Two nights without a sweep warn, a week without one fails. Only the corpus has a policy: what
follows from it is made again where content changed, so its age says nothing."""


def _table(stage: Stage) -> Metadata:
    return table_metadata(parquet_files(stage), partitioned=False)


@dg.asset(
    key=["corpus", "validation_sweep"],
    group_name="corpus",
    owners=[OWNER],
    kinds={"python", "parquet"},
    code_version=RULES_VERSION,
    freshness_policy=NIGHTLY,
)
def validation_sweep(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult[None]:
    """Verdict of every shipped episode, one row each; all later assets select episodes here."""
    return made_in_step(context, workspace, ValidationSweep, _table)


@dg.asset(
    key=["corpus", "grid_shards"],
    deps=[validation_sweep],
    group_name="corpus",
    owners=[OWNER],
    kinds={"python", "numpy"},
    code_version=grid_schema().hash[:12],
    freshness_policy=NIGHTLY,
)
def grid_shards(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult[None]:
    """Time-major 10 Hz grids of all usable episodes: 46 channels, log1p, uncalibrated."""
    return made_in_step(context, workspace, GridShards, _table)

"""Unpartitioned assets, which do not depend on a recipe: verdicts and grids."""

import dagster as dg

from cis490_pipeline.experiment.pipeline.corpus import GridShards, ValidationSweep
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.schema import grid_schema
from cis490_pipeline.orchestration.assets.recording import OWNER, columns_of, recorded
from cis490_pipeline.store.verdicts.validate import RULES_VERSION


@dg.asset(
    key=["corpus", "validation_sweep"],
    group_name="corpus",
    owners=[OWNER],
    kinds={"python", "parquet"},
    code_version=RULES_VERSION,
)
def validation_sweep(workspace: dg.ResourceParam[Workspace]) -> dg.MaterializeResult[None]:
    """Verdict of every shipped episode, one row each; all later assets select episodes here."""
    (outcome,) = make_stages((ValidationSweep(workspace),), checked=False)
    return recorded(outcome, workspace, **columns_of(workspace.paths.validation))


@dg.asset(
    key=["corpus", "grid_shards"],
    deps=[validation_sweep],
    group_name="corpus",
    owners=[OWNER],
    kinds={"python", "numpy"},
    code_version=grid_schema().hash[:12],
)
def grid_shards(workspace: dg.ResourceParam[Workspace]) -> dg.MaterializeResult[None]:
    """Time-major 10 Hz grids of all usable episodes: 46 channels, log1p, uncalibrated."""
    (outcome,) = make_stages((GridShards(workspace),), checked=False)
    return recorded(outcome, workspace)

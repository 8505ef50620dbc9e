"""Assets of one recipe's data: sides, summary features, tensors."""

import dagster as dg

from cis490_pipeline.domain import Recipe, Variant
from cis490_pipeline.experiment.dataset import FeatureShards, TensorShards, ValidationIndex
from cis490_pipeline.experiment.workspace import Workspace
from cis490_pipeline.features.schema import feature_schema
from cis490_pipeline.orchestration.corpus import grid_shards, validation_sweep
from cis490_pipeline.orchestration.partitions import recipes
from cis490_pipeline.orchestration.recording import recorded
from cis490_pipeline.splits.recipes import SPLIT_VERSION

# Plain eager() fires again on an identical data version; this one fires when content changed.
_any_deps_match = dg.AutomationCondition.any_deps_match
when_content_changes = dg.AutomationCondition.eager().replace(
    "any_deps_updated",
    _any_deps_match(
        dg.AutomationCondition.data_version_changed() | dg.AutomationCondition.will_be_requested()
    ),
)


@dg.asset(
    key=["dataset", "validation_index"],
    deps=[validation_sweep, grid_shards],
    partitions_def=recipes,
    automation_condition=when_content_changes,
    group_name="dataset",
    kinds={"python", "parquet"},
    code_version=SPLIT_VERSION,
)
def validation_index(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult[None]:
    """Usable episodes, each with its side of the split, or why it is excluded."""
    return recorded(ValidationIndex(workspace, Recipe(context.partition_key)).ensure(), workspace)


@dg.asset(
    key=["dataset", "feature_shards"],
    deps=[validation_index, grid_shards],
    partitions_def=recipes,
    automation_condition=when_content_changes,
    group_name="dataset",
    kinds={"python", "parquet"},
    code_version=feature_schema("summary", Variant.ORACLE).hash[:12],
)
def feature_shards(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult[None]:
    """230 statistics of each 10 s window (145 of them deployable), rows by side."""
    return recorded(FeatureShards(workspace, Recipe(context.partition_key)).ensure(), workspace)


@dg.asset(
    key=["dataset", "tensor_shards"],
    deps=[validation_index, grid_shards],
    partitions_def=recipes,
    automation_condition=when_content_changes,
    group_name="dataset",
    kinds={"python", "numpy"},
    code_version=feature_schema("tensor", Variant.ORACLE).hash[:12],
)
def tensor_shards(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult[None]:
    """Windows into the grid shards: 46 (29 deployable) channels × 100 steps, none stored twice."""
    return recorded(TensorShards(workspace, Recipe(context.partition_key)).ensure(), workspace)

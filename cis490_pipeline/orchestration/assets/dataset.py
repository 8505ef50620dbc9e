"""Assets of one recipe's data: sides, summary features, tensors."""

import dagster as dg

from cis490_pipeline.domain import Recipe, Variant
from cis490_pipeline.experiment.pipeline.dataset import FeatureShards, TensorShards, ValidationIndex
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.schema import feature_schema
from cis490_pipeline.orchestration.assets.corpus import grid_shards, validation_sweep
from cis490_pipeline.orchestration.assets.partitions import OWNER, recipes
from cis490_pipeline.orchestration.assets.recording import columns_of, recorded
from cis490_pipeline.splits.recipes import SPLIT_VERSION

# Plain eager() fires even if the data version is unchanged; this fires only on new content.
_any_deps_match = dg.AutomationCondition.any_deps_match
when_content_changes = dg.AutomationCondition.eager().replace(
    "any_deps_updated",
    _any_deps_match(
        dg.AutomationCondition.data_version_changed() | dg.AutomationCondition.will_be_requested()
    ),
)


def _dataset_asset(
    stage: type[ValidationIndex] | type[FeatureShards] | type[TensorShards],
    *,
    deps: list[dg.AssetsDefinition],
    kinds: set[str],
    code_version: str,
    description: str,
) -> dg.AssetsDefinition:
    @dg.asset(
        key=stage.key.split("/"),
        deps=deps,
        partitions_def=recipes,
        automation_condition=when_content_changes,
        group_name="dataset",
        owners=[OWNER],
        kinds=kinds,
        code_version=code_version,
        description=description,
    )
    def dataset(
        context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
    ) -> dg.MaterializeResult[None]:
        (outcome,) = make_stages((stage(workspace, Recipe(context.partition_key)),), checked=False)
        tables = sorted(name for name in outcome.record.files if name.endswith(".parquet"))
        return recorded(outcome, workspace, **columns_of(workspace.paths.root / tables[0]))

    return dataset


validation_index = _dataset_asset(
    ValidationIndex,
    deps=[validation_sweep, grid_shards],
    kinds={"python", "parquet"},
    code_version=SPLIT_VERSION,
    description="Usable episodes with their side of the split, or the reason for exclusion.",
)

feature_shards = _dataset_asset(
    FeatureShards,
    deps=[validation_index, grid_shards],
    kinds={"python", "parquet"},
    code_version=feature_schema("summary", Variant.ORACLE).hash[:12],
    description="230 statistics of each 10 s window (145 of them deployable), rows by side.",
)

tensor_shards = _dataset_asset(
    TensorShards,
    deps=[validation_index, grid_shards],
    kinds={"python", "numpy"},
    code_version=feature_schema("tensor", Variant.ORACLE).hash[:12],
    description="Windows into the grid shards: 46 (29 deployable) channels × 100 steps, "
    "none stored twice.",
)

"""Assets of one recipe's data: sides, summary features, tensors."""

from functools import partial

import dagster as dg

from cis490_pipeline.domain import Variant
from cis490_pipeline.experiment.pipeline.dataset import (
    FeatureShards,
    RecipeStage,
    TensorShards,
    ValidationIndex,
)
from cis490_pipeline.features.schema import feature_schema
from cis490_pipeline.orchestration.assets.corpus import grid_shards, validation_sweep
from cis490_pipeline.orchestration.assets.recording import (
    Metadata,
    parquet_files,
    recipe_asset,
    table_metadata,
)
from cis490_pipeline.splits.recipes import SPLIT_VERSION

# Plain eager() fires even if the data version is unchanged; this fires only on new content.
when_content_changes = dg.AutomationCondition.eager().replace(
    "any_deps_updated",
    dg.AutomationCondition.any_deps_match(
        dg.AutomationCondition.data_version_changed() | dg.AutomationCondition.will_be_requested()
    ),
)


def _columns(stage: RecipeStage) -> Metadata:
    return table_metadata(parquet_files(stage))


_dataset_asset = partial(recipe_asset, extra=_columns, automation_condition=when_content_changes)

validation_index = _dataset_asset(
    ValidationIndex.key,
    ValidationIndex,
    deps=[validation_sweep, grid_shards],
    kinds={"parquet"},
    code_version=SPLIT_VERSION,
    description="Usable episodes with their side of the split, or the reason for exclusion.",
)
feature_shards = _dataset_asset(
    FeatureShards.key,
    FeatureShards,
    deps=[validation_index, grid_shards],
    kinds={"parquet"},
    code_version=feature_schema("summary", Variant.ORACLE).hash[:12],
    description="Features of each 10 s window, rows by side: 5 statistics of each channel, or 12 "
    "columns with its history.",
)
tensor_shards = _dataset_asset(
    TensorShards.key,
    TensorShards,
    deps=[validation_index, grid_shards],
    kinds={"numpy"},
    code_version=feature_schema("tensor", Variant.ORACLE).hash[:12],
    description="Windows into the grid shards: 46 (29 deployable) channels × 100 steps, "
    "none stored twice.",
)

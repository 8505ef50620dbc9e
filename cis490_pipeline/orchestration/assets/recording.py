"""Assets made of stages: one definition for all that are partitioned by recipe, and its record."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import dagster as dg

from cis490_pipeline.domain import Recipe
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.experiment.stages.stage import Stage, StageResult
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.storage.parquet import table_schema

OWNER: Final = "team:cis490"
"""Owner of the assets in the catalog."""

recipes = dg.StaticPartitionsDefinition([str(recipe) for recipe in Recipe])
"""One partition per split recipe, in one definition that all assets of a recipe share."""

StageT = TypeVar("StageT", bound=Stage)

Metadata = dict[str, dg.MetadataValue[Any]]


def recipe_asset(
    key: str,
    stage: Callable[[Workspace, Recipe], StageT],
    *,
    deps: Sequence[dg.AssetKey | dg.AssetsDefinition],
    kinds: set[str],
    code_version: str,
    description: str,
    extra: Callable[[StageT], Metadata] | None = None,
    pool: str | None = None,
    tags: Mapping[str, str] | None = None,
    automation_condition: dg.AutomationCondition[Any] | None = None,
) -> dg.AssetsDefinition:
    """Return the asset that makes one stage of a recipe.

    Parameters
    ----------
    key : of the stage, with ``/``; its first part decides the group.
    stage : gives the stage of a workspace and a recipe.
    extra : gives further metadata of the stage once it is made.

    Further parameters are those of ``dagster.asset``.
    """

    @dg.asset(
        key=key.split("/"),
        deps=deps,
        partitions_def=recipes,
        group_name="models" if key.startswith("model/") else "dataset",
        owners=[OWNER],
        kinds={"python", *kinds},
        code_version=code_version,
        description=description,
        pool=pool,
        tags=tags,
        automation_condition=automation_condition,
    )
    def asset(
        context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
    ) -> dg.MaterializeResult[None]:
        made = stage(workspace, Recipe(context.partition_key))
        (outcome,) = make_stages((made,), checked=False)
        return recorded(outcome, workspace, **(extra(made) if extra else {}))

    return asset


def columns_of(table: Path) -> Metadata:
    """Return the metadata entry with the columns and types of a parquet file."""
    columns = [
        dg.TableColumn(name, str(kind).lower()) for name, kind in table_schema(table).items()
    ]
    return {"dagster/column_schema": dg.TableMetadataValue.table_schema(dg.TableSchema(columns))}


def recorded(
    outcome: StageResult, workspace: Workspace, **extra: dg.MetadataValue[Any]
) -> dg.MaterializeResult[None]:
    """Return the materialization of a stage: its metrics, files and content digest.

    The digest is the data version, so that remaking an artefact with the same content makes nothing
    downstream stale.
    """
    record = outcome.record
    metadata: dict[str, dg.MetadataValue[Any] | str | float | int] = {
        **{name: value for name, value in outcome.numbers.items() if value is not None},
        **extra,
        "made_because": outcome.why if outcome.made else "up to date: not made again",
        "seconds": record.seconds if outcome.made else 0.0,
        "digest": record.digest,
    }
    folders = sorted({str((workspace.paths.root / name).parent) for name in record.files})
    if folders:
        metadata["path"] = dg.MetadataValue.path(folders[0])
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(record.digest))

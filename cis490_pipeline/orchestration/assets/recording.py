"""Assets made of stages: one way to make them in a step, and the metadata of what was made."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import dagster as dg
import polars as pl

from cis490_pipeline.compute.progress import duration
from cis490_pipeline.domain import Architecture, Recipe
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.experiment.stages.stage import UP_TO_DATE, Stage, StageResult
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.upkeep.stale import explained
from cis490_pipeline.orchestration.assets.table_columns import described
from cis490_pipeline.orchestration.runtime.step_log import logged
from cis490_pipeline.storage.parquet import scan_table, table_schema

OWNER: Final = "team:cis490"
"""Owner of the assets in the catalog."""
COMPARISON: Final = "comparison"
"""Group of what is made of all models."""

recipes = dg.StaticPartitionsDefinition([str(recipe) for recipe in Recipe])
"""One partition per split recipe, in one definition that all assets of a recipe share."""

StageT = TypeVar("StageT", bound=Stage)

Metadata = dict[str, dg.MetadataValue[Any]]


def group_of(key: str) -> str:
    """Return the group of an asset: its architecture, or what its key begins with."""
    first, second, *_ = key.split("/")
    if first != "model":
        return first
    return second if second in set(Architecture) else COMPARISON


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
    key : of the stage, with ``/``; it decides the group.
    stage : gives the stage of a workspace and a recipe.
    extra : gives further metadata of the stage once it is made.

    Further parameters are those of ``dagster.asset``.
    """

    @dg.asset(
        key=key.split("/"),
        deps=deps,
        partitions_def=recipes,
        group_name=group_of(key),
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
        recipe = Recipe(context.partition_key)
        return made_in_step(context, workspace, lambda opened: stage(opened, recipe), extra)

    return asset


def made_in_step(
    context: dg.AssetExecutionContext,
    workspace: Workspace,
    stage: Callable[[Workspace], StageT],
    extra: Callable[[StageT], Metadata] | None = None,
) -> dg.MaterializeResult[None]:
    """Make a stage with its progress in the step's log; return its materialization.

    Its data version is the content's digest, so that remaking an artefact with the same content
    makes nothing downstream stale.
    """
    with logged(workspace, context) as opened:
        made = stage(opened)
        name = f"{made.key} ({made.scope})"
        reason = explained(made)
        context.log.info(f"{name}: {reason or UP_TO_DATE}")
        (outcome,) = make_stages((made,), checked=False)
        record = outcome.record
        why = (reason or outcome.why) if outcome.made else f"{UP_TO_DATE}: not made again"
        metadata = _metadata(outcome, opened, why)
        if extra is not None:
            metadata |= extra(made)
        took = f"made in {duration(record.seconds)}" if outcome.made else why
        context.log.info(f"{name}: {took}")
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(record.digest))


def _metadata(
    outcome: StageResult, workspace: Workspace, why: str
) -> dict[str, dg.MetadataValue[Any] | str | float | int]:
    record = outcome.record
    metadata: dict[str, dg.MetadataValue[Any] | str | float | int] = {
        "seed": workspace.settings.seed,
        **shown(outcome.numbers),
        "made_because": why,
        "seconds": record.seconds if outcome.made else 0.0,
        "digest": record.digest,
    }
    if record.commit:
        metadata["commit"] = record.commit
    folders = sorted({str((workspace.paths.root / name).parent) for name in record.files})
    if folders:
        metadata["path"] = dg.MetadataValue.path(folders[0])
    return metadata


def shown(
    numbers: Mapping[str, int | float | str | bool | None],
) -> dict[str, int | float | str | bool]:
    """Return what is known of some numbers, to three digits after the point.

    The UI prints a float as it is; one under .001 keeps three digits of its own.
    """
    known: dict[str, int | float | str | bool] = {}
    for name, value in numbers.items():
        if isinstance(value, float) and math.isfinite(value):
            small = 0 < abs(value) < 0.001
            known[name] = float(f"{value:.3g}") if small else round(value, 3)
        elif value is not None:
            known[name] = value
    return known


def table_metadata(tables: Iterable[Path], *, partitioned: bool = True) -> Metadata:
    """Return columns, with their meanings, and the number of rows of one table's parquet files."""
    files = list(tables)
    columns = [
        dg.TableColumn(name, str(kind).lower(), description=described(name))
        for name, kind in table_schema(files[0]).items()
    ]
    n_rows = sum(int(scan_table(path).select(pl.len()).collect().item()) for path in files)
    rows = dg.MetadataValue.int(n_rows)
    return {
        "dagster/column_schema": dg.TableMetadataValue.table_schema(dg.TableSchema(columns)),
        # The name the UI shows; of a partition Dagster counts by the other.
        "dagster/row_count": rows,
        **({"dagster/partition_row_count": rows} if partitioned else {}),
    }


def parquet_files(stage: Stage) -> list[Path]:
    """Return the tables among the files of a stage that was made, sorted."""
    record = stage.record()
    assert record is not None, "it was made just now"
    names = sorted(name for name in record.files if name.endswith(".parquet"))
    return [stage.workspace.paths.root / name for name in names]

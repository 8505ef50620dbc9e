"""Convert the result of a stage to a Dagster materialization."""

from pathlib import Path
from typing import Any

import dagster as dg

from cis490_pipeline.experiment.stages.stage import StageResult
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.storage.parquet import table_schema


def columns_of(table: Path) -> dict[str, dg.MetadataValue[Any]]:
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

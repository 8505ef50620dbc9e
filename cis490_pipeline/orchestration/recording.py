"""From a stage's outcome to what Dagster shows of it."""

from typing import Any

import dagster as dg

from cis490_pipeline.experiment.stage import Outcome
from cis490_pipeline.experiment.workspace import Workspace


def recorded(
    outcome: Outcome, workspace: Workspace, **extra: dg.MetadataValue[Any]
) -> dg.MaterializeResult[None]:
    """Return the materialization of a stage: its numbers, files and content digest.

    The digest is the data version, so that an artefact made again with the same content makes
    nothing downstream stale.
    """
    record = outcome.record
    metadata: dict[str, Any] = {
        **{name: value for name, value in record.numbers.items() if value is not None},
        **extra,
        "made_because": outcome.why if outcome.made else "up to date: not made again",
        "seconds": record.seconds,
        "digest": record.digest,
    }
    folders = sorted({str((workspace.paths.root / name).parent) for name in record.files})
    if folders:
        metadata["path"] = dg.MetadataValue.path(folders[0])
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(record.digest))

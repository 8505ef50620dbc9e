"""The private names of Dagster that this package needs; a test holds them to its version."""

from typing import Any, Final

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.instance.config import is_dagster_home_set
from dagster._core.instance.ref import InstanceRef
from dagster._core.scheduler.instigation import InstigatorStatus
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

__all__ = [
    "ARTIFACT_STORAGE",
    "ASSET_CHECK_FAILED",
    "FORKSERVER_PRELOADS",
    "NO_COMPUTE_LOGS",
    "AssetCheckExecutionRecordStatus",
    "DagsterExecutionInterruptedError",
    "InstanceRef",
    "InstigatorStatus",
    "InstigatorType",
    "is_dagster_home_set",
    "run_storage_id",
]

FORKSERVER_PRELOADS: Final = (
    "dagster._core.executor.multiprocess",
    "dagster._core.storage.local_compute_log_manager",
    "dagster._core.storage.sqlite_storage",
    "dagster._daemon",
)
"""Modules that every step of a run imports."""
ARTIFACT_STORAGE: Final = {"module": "dagster._core.storage.root", "class": "LocalArtifactStorage"}
NO_COMPUTE_LOGS: Final = {
    "module": "dagster._core.storage.noop_compute_log_manager",
    "class": "NoOpComputeLogManager",
}
ASSET_CHECK_FAILED: Final = "DagsterAssetCheckFailedError"
"""Class name, in ``dagster._core.errors``, of a step that a blocking check stopped."""


def run_storage_id(instance: dg.DagsterInstance) -> str:
    """Id of the instance's run storage, which no other instance's has."""
    # Imported here: it loads SQLAlchemy, which would slow the loading of definitions.
    from dagster._core.storage.runs import SqlRunStorage

    storage: Any = instance.run_storage
    assert isinstance(storage, SqlRunStorage), "runs are kept in SQLite or Postgres"
    return storage.get_run_storage_id()

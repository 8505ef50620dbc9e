"""Parallel map over tasks: in this process, in a process pool, or on a Dask cluster."""

from cis490_pipeline.compute.backends import (
    Compute,
    ProcessCompute,
    SerialCompute,
    compute_with,
)
from cis490_pipeline.compute.dask_backend import DaskCompute
from cis490_pipeline.compute.dask_cluster import DaskCluster

__all__ = [
    "Compute",
    "DaskCluster",
    "DaskCompute",
    "ProcessCompute",
    "SerialCompute",
    "compute_with",
]

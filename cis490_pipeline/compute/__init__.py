"""Doing one thing to many tasks: here, in processes, on a Dask cluster; knows no episode."""

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

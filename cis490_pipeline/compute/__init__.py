"""Doing one thing to many tasks, here or in other processes; knows nothing of episodes."""

from cis490_pipeline.compute.backends import (
    Compute,
    ProcessCompute,
    SerialCompute,
    compute_with,
)

__all__ = ["Compute", "ProcessCompute", "SerialCompute", "compute_with"]

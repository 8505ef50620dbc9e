"""Dagster: the pipeline as software-defined assets, partitioned by split recipe."""

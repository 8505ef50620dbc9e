"""Start, preload and monitor Dagster runs."""

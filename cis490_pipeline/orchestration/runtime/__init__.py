"""How Dagster runs are started, preloaded and watched."""

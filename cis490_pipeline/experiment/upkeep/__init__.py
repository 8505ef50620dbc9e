"""Upkeep: blocking checks, warnings, what is stale, what can be removed."""

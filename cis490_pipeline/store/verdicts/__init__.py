"""Validation of all episodes, incremental and resumable."""

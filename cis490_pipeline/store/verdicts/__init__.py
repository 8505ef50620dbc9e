"""Verdicts: validation of every episode, incremental and resumable."""

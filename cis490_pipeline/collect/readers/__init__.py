"""Readers of one interface's packets, which fill the buckets of a capture."""

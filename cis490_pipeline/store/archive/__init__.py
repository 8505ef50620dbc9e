"""Bounded reading of episode archives (zstd-compressed tar)."""

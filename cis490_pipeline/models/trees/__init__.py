"""Gradient-boosted trees, and safe parsing of their files."""

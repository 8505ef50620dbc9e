"""Gradient-boosted trees, and safe reading of their files."""

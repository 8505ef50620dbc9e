"""Datasets of a recipe: written once, verified, read window by window."""

"""Datasets of a recipe: written once, verified when opened, and read by window."""

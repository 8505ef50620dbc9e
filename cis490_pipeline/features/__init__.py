"""Rows to grids, windows, statistics and calibrated datasets; no model, no network."""

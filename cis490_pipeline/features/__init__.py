"""Feature extraction: grids, windows, statistics and calibrated datasets."""

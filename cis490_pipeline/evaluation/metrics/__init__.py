"""Metrics of predicted phases: segments, calibration error, ranking, selective risk."""

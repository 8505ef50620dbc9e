"""Calibration: telemetry relative to a device's own clean baseline."""

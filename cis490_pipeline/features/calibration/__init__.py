"""Calibration of telemetry relative to a device's clean baseline."""

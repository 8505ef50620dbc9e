"""Clocks of live sources: offsets, order, calibration of time."""

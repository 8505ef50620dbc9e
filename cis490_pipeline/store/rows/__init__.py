"""Rows of telemetry: strict JSON to numpy columns, exactly."""

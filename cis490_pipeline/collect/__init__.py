"""Collectors of telemetry rows on a device: standard library only, Python 3.9 or later."""

"""The alarm a device runs: forward filter and thresholds, with numpy alone."""

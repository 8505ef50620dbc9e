"""Stress tests: recording faults, recut windows, and drift between corpora."""

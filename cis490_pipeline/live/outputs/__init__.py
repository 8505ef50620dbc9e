"""Outputs of live inference: terminal, JSON lines, dashboard."""

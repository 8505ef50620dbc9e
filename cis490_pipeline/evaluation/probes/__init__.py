"""Probes: how far trivial predictors and shortcuts get on the same windows."""

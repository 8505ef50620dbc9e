"""Simulated stores of any size, for scale and for tests; always labelled as simulated."""

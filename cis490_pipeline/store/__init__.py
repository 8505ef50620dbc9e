"""Receiver store: layout, safe reading, and validation of every episode."""

"""Software-defined assets and their checks."""

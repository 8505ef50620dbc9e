"""Neural architectures in torch."""

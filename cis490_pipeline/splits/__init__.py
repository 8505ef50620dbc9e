"""Which episodes train, validate and test: one rule per recipe, kept on disk, nothing moves."""

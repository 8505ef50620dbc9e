"""The pipeline's stages, from corpus to alarm."""

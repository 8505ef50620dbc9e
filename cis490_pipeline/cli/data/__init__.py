"""Commands on episodes and datasets."""

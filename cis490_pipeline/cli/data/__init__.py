"""Commands on stores, episodes and datasets."""

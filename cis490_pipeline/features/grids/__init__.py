"""Storage of episode grids (10 Hz) as shard files, shared by all recipes."""

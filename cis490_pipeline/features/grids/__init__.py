"""10 Hz grids of episodes as shard files, shared by every recipe."""

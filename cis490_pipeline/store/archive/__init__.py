"""Archives of episodes: zstd-compressed tar, read within bounds."""

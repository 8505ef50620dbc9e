"""Files and folders, local and remote: atomic writes, digests, remote copies and paths."""

"""Files and folders, here and elsewhere: atomic writes, digests, remote copies, paths."""

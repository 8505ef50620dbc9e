"""Row feeds: a growing folder, an archive, a stream, connections."""

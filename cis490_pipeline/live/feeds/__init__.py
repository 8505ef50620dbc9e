"""Where rows come from: a growing folder, an archive, a stream, connections."""

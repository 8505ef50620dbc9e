"""The live dashboard: events in over HTTP, a page that follows them over server-sent events."""

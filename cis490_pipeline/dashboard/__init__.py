"""Live dashboard: receives events over HTTP and shows them by server-sent events."""

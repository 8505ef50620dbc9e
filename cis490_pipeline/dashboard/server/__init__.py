"""HTTP server of the dashboard: routes, streams, connections."""

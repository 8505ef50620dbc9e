"""Producers of dashboard events: scores, latencies, profiles, a replay. None needs the server."""

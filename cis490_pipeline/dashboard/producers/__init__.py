"""What is sent to a dashboard: scores, speed, profiles, a replay. None of them needs the server."""

"""Access control: Host, Origin, token, rate limits."""

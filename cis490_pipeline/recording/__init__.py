"""Recording of a corpus: virtual machines of a plan, their phases and telemetry, as episodes."""

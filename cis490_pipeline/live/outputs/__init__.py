"""Where a live device's windows and states go."""

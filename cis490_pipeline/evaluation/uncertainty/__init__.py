"""Intervals and tests: bootstrap by episode, paired differences, rates, survival, seeds."""

"""Made-up stores of any size, for scale and for tests; labelled as simulated everywhere."""

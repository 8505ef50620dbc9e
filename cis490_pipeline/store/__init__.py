"""The receiver's store: where things lie, safe reading, and the verdict on every episode."""

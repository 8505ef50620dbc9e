"""One run: store, split, dataset, model and config become checkpoint, predictions and report."""

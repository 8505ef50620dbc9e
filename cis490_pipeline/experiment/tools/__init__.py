"""Tools beside the pipeline: hyperparameter search, comparison, export, one episode."""

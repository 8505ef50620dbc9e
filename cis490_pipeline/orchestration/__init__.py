"""Dagster: the pipeline as software-defined assets, partitioned by split recipe."""

from cis490_pipeline.compute.process import pin_library_threads

# Every Dagster process that runs our code imports this before numpy.
pin_library_threads()

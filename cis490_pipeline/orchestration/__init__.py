"""Dagster: the pipeline as software-defined assets, partitioned by split recipe."""

from cis490_pipeline.compute.process import pin_library_threads

# Every process of Dagster's that runs our code comes through here before it imports numpy.
pin_library_threads()

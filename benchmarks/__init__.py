"""Ratios of the data path to floors and peers, and the page that projects them."""

from cis490_pipeline.compute.process import pin_library_threads

# As every command does, and before the libraries it speaks of are imported.
pin_library_threads()

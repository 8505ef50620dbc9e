"""Ratios of the data path to floors and peers, and the page that projects them."""

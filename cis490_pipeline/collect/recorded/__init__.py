"""Netflow rows from recordings of traffic, counted by the code of the live capture."""

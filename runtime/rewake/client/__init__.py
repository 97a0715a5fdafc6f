"""Clients of a Rewake server: `Client` and `AsyncClient`, which the command line uses too."""

"""Suspended instances, and what has arrived for each since."""

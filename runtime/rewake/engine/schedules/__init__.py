"""Schedules: what is said of them, and the runs that they start."""

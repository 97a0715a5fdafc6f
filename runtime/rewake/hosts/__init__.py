"""Hosts: a server put together from its parts, configured, and run as a process."""

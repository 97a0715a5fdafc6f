"""Dispatchers: how a message reaches the process that handles it."""

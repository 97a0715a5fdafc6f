"""Dispatchers: how a message reaches whoever will handle it."""

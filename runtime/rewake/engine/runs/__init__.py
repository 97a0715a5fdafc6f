"""Runs as a whole: begun, listed, paused, retried, forked, removed."""

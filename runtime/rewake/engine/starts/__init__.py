"""Starts: under which name, now or later, together with others, or not at all."""

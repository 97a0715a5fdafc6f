"""A simulation of everything that can go wrong, and a judge of what comes of it."""

"""A deterministic simulation of everything that can go wrong, and the judge of what happens then."""

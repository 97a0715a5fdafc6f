"""Stores: the protocol that keeps a run safe, and the tables under it."""

"""Checking: the source of workflows, read for what would give another answer on replay."""

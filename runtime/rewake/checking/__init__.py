"""Checks of the source of workflows, for code that gives another answer on replay."""

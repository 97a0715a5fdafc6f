"""Limits: which tasks and runs are let in, and what is cached of tasks."""

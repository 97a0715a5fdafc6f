"""Schedules without I/O: which moments a cron line means, and what a schedule is made of."""

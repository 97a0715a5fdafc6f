"""What a process has of its own: its claims, threads and slots, and what it leaves alone."""

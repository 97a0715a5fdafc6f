"""What a process looks after on its own: all that is due, and what others left behind."""

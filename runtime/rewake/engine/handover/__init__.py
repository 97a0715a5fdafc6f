"""What is given up in time: by a process whose loop is blocked, or whose host ends it."""

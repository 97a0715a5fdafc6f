"""What bodies and attempts say: log lines and streams, kept with their runs."""

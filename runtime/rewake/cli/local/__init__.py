"""Commands that carry out a run, or decide, in this process."""

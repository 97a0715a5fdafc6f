"""Commands that carry out or decide in this process."""

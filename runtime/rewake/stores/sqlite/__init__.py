"""SQLite: a table and a shelf in one file."""

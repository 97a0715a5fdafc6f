"""PostgreSQL: a table and a shelf in one schema of a database."""

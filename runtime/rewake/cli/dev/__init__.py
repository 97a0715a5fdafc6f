"""`rewake dev`: a server that starts anew whenever its code changes."""

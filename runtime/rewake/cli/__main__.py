"""`python -m rewake.cli` is the command line."""

from rewake.cli import main

main()

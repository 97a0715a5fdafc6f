"""`python -m rewake` is the command line."""

from rewake.cli import main

main()

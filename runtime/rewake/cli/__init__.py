"""The command line, `rewake`.

`commands` declares the arguments. The work of each command is in a module of its own, imported
when it runs, so that `rewake --help` is quick. An error of Rewake's is one line on stderr and an
exit code (`exits`), never a traceback.
"""

from __future__ import annotations


def main() -> None:
    """The entry point `rewake`."""
    from rewake.cli.commands import app

    app(prog_name="rewake")

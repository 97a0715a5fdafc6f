"""The commands `rewake tables`: what a database needs before anything runs, and moving it."""

from __future__ import annotations

from typing import Annotated

import typer

from rewake.cli.options import Db

tables = typer.Typer(help="Make, check and copy the database.", no_args_is_help=False)


@tables.command("create")
def tables_create(db: Db = None) -> None:
    """Make what is missing of the database; it can be repeated. Needs no app and no secret."""
    from rewake.cli.local.tables import create

    raise typer.Exit(create(db))


@tables.command("check")
def tables_check(db: Db = None) -> None:
    """Check that the database fits. Exit code 1: it does not, with a line for each reason."""
    from rewake.cli.local.tables import check

    raise typer.Exit(check(db))


From = Annotated[str, typer.Option("--from", help="The database to copy: it must not be served.")]
To = Annotated[str, typer.Option("--to", help="The database to copy into: an empty one.")]


@tables.command("copy")
def tables_copy(source: From, target: To) -> None:
    """Copy all of a database into another, of any kind. What was cut short goes on, repeated."""
    from rewake.cli.local.copying import copy

    raise typer.Exit(copy(source, target))

"""The commands `rewake tables`: what a database needs before anything runs on it."""

from __future__ import annotations

import typer

from rewake.cli.options import Db

tables = typer.Typer(help="Make and check the database.", no_args_is_help=False)


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

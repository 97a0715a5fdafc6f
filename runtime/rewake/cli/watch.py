"""`rewake runs watch`: what a run tells, as it tells it."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from rewake.cli.options import RunId
from rewake.errors import UsageError


def runs_watch(
    run: RunId,
    only: Annotated[
        str | None, typer.Option(help="Only these: item, state, operation, log; with commas.")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option("--server", help="The server (REWAKE_SERVER, 127.0.0.1:8000)."),
    ] = None,
    db: Annotated[str | None, typer.Option(help="A database, instead of a server.")] = None,
    json: Annotated[bool, typer.Option("--json", help="An object a line, for machines.")] = False,
) -> NoReturn:
    """Follow a run until it ends: what it emits, logs and does. Exits as its result does."""
    from rewake.cli.told import Teller

    teller = Teller(only, json=json)
    if db is not None and server is not None:
        raise UsageError("give either --server or --db, not both")
    if db is not None:
        from rewake.cli.home import database
        from rewake.cli.local.watch import watch as watch_here

        raise typer.Exit(watch_here(database(db), run, teller))
    from rewake.cli.remote.watch import watch

    raise typer.Exit(watch(server, run, teller))

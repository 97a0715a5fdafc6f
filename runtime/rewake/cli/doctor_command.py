"""The command `rewake doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from rewake.cli.options import Db, Json
from rewake.errors import UsageError


def doctor(
    source: Annotated[
        str | None, typer.Argument(metavar="APP", help="The app's file or module; or REWAKE_APP.")
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="Let this running server check itself.")
    ] = None,
    host: Annotated[
        bool, typer.Option("--host", help="Find out what the host of that server carries.")
    ] = False,
    longest: Annotated[
        float, typer.Option(min=0, max=60, help="With --host: seconds that an answer is let take.")
    ] = 60.0,
    db: Db = None,
    json: Json = False,
) -> None:
    """Check how a server is set up, a line for each finding. Exit code 1: something is wrong."""
    if host and server is None:
        raise UsageError("--host asks a server that runs: say which, with --server")
    if server is not None:
        if source is not None or db is not None:
            raise UsageError("--server checks that server: give neither APP nor --db")
        from rewake.cli.remote.doctor import examine, examine_host

        raise typer.Exit(examine_host(server, longest, json) if host else examine(server, json))
    from rewake.cli.local.doctor import examine as examine_here

    raise typer.Exit(examine_here(source, db, json))

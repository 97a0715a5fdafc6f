"""The commands about who may do what: API tokens, and the audit log."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import Annotated

import typer

from rewake.cli.exits import Exit
from rewake.cli.options import Cursor, Db, Json, Limit, Since, Url
from rewake.errors import InvalidInput

tokens = typer.Typer(help="Make, list and revoke API tokens.", no_args_is_help=False)
audit = typer.Typer(help="What was done, and by whom.", no_args_is_help=False)

TokenName = Annotated[str, typer.Argument(metavar="NAME", help="The name of a token.")]
Server = Annotated[
    str | None,
    typer.Option("--server", help="A server (REWAKE_SERVER); without one, the database."),
]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@tokens.command("create")
def tokens_create(
    name: Annotated[str, typer.Option(help="What it is called, in lists and in the audit log.")],
    scope: Annotated[
        list[str], typer.Option(help="start, read, decide, operate, admin; several with commas.")
    ],
    workflow: Annotated[
        list[str] | None, typer.Option(help="Only for this workflow; may be given several times.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="After so long: 12h, 30d.")] = None,
    tenant: Annotated[str, typer.Option(help="Only for runs of this tenant.")] = "",
    server: Server = None,
    db: Db = None,
) -> None:
    """Make an API token. It is printed once, and kept nowhere."""
    from rewake.cli.tokens import Wish

    scopes = [part.strip() for each in scope for part in each.split(",")]
    wish = Wish(name, scopes, workflow or [], _span(expires), tenant)
    where = _where(server, db)
    if where is not None:
        from rewake.cli.remote.tokens import create

        _end(create(where, wish))
    from rewake.cli.local.tokens import create as create_here

    _end(create_here(db, wish))


@tokens.command("list")
def tokens_list(server: Server = None, db: Db = None, json: Json = False) -> None:
    """What each token allows, until when, and when it was last used."""
    where = _where(server, db)
    if where is not None:
        from rewake.cli.remote.tokens import listing

        _end(listing(where, json))
    from rewake.cli.local.tokens import listing as list_here

    _end(list_here(db, json))


@tokens.command("revoke")
def tokens_revoke(name: TokenName, server: Server = None, db: Db = None) -> None:
    """Let a token be worth nothing any more, at once."""
    where = _where(server, db)
    if where is not None:
        from rewake.cli.remote.tokens import revoke

        _end(revoke(where, name))
    from rewake.cli.local.tokens import revoke as revoke_here

    _end(revoke_here(db, name))


@audit.command("list")
def audit_list(
    who: Annotated[str | None, typer.Option(help="Only of them: token:NAME, bootstrap.")] = None,
    run: Annotated[str | None, typer.Option(help="Only about this run.")] = None,
    since: Since = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """What was done and refused on a server, newest first."""
    from rewake.cli.remote.audit import listing

    query = {"who": who, "run": run, "limit": limit, "cursor": cursor}
    _end(listing(url, json, query, since))


def _where(server: str | None, db: str | None) -> str | None:
    """The server that is meant; None: the database. Raises `InvalidInput`."""
    if server is not None and db is not None:
        raise InvalidInput("give either --server or --db, not both")
    if db is not None:
        return None
    return server or os.environ.get("REWAKE_SERVER") or None


def _span(text: str | None) -> timedelta | None:
    """How long, as an option says it. Raises `InvalidInput`."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None or int(found[1]) == 0:
        raise InvalidInput("--expires is how long, such as 12h or 30d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _end(code: Exit) -> None:
    raise typer.Exit(code)

"""The commands about messages that nobody could make anything of."""

from __future__ import annotations

from typing import Annotated

import typer

from rewake.cli.options import Json, Limit, Url

deadletters = typer.Typer(
    help="Messages in the queue that could not be handled.", no_args_is_help=False
)

Id = Annotated[str, typer.Argument(metavar="ID", help="The id of a message, as the list has it.")]


@deadletters.command("list")
def deadletters_list(limit: Limit = 50, url: Url = None, json: Json = False) -> None:
    """Messages that were parked, in no order, and why."""
    from rewake.cli.remote.dead_letters import listing

    raise typer.Exit(listing(url, json, limit))


@deadletters.command("show")
def deadletters_show(id: Id, url: Url = None, json: Json = False) -> None:
    """One of them, with what is in it."""
    from rewake.cli.remote.dead_letters import show

    raise typer.Exit(show(url, json, id))


@deadletters.command("redrive")
def deadletters_redrive(
    id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Only this message; without: all of them.")
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Send messages again, as they were: what was forged is parked again."""
    from rewake.cli.remote.dead_letters import redrive

    raise typer.Exit(redrive(url, json, id))

"""The commands of events: `rewake events publish`, `rewake events list`."""

from __future__ import annotations

from typing import Annotated

import typer

from rewake.cli.inputs import json_value
from rewake.cli.options import Json, Url

events = typer.Typer(help="Publish events, and look at them.", no_args_is_help=False)


@events.command("publish")
def publish(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The event's name.")],
    value: Annotated[str | None, typer.Option(help="Its data, as JSON (null).")] = None,
    id: Annotated[str | None, typer.Option(help="It is published once for each id.")] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Publish an event: all runs that wait for it go on."""
    from rewake.cli.remote.events import publish

    raise typer.Exit(publish(url, name, json_value(value), id, json=json))


@events.command("list")
def listing(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The event's name.")],
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    url: Url = None,
    json: Json = False,
) -> None:
    """The events of a name that are kept, the newest first."""
    from rewake.cli.remote.events import listing
    from rewake.cli.remote.runs import Server

    raise typer.Exit(listing(Server(url, json), name, limit))

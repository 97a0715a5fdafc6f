"""The commands of events."""

from __future__ import annotations

from typing import Annotated

import typer

from rewake.cli.inputs import json_value
from rewake.cli.options import Json, Url

events = typer.Typer(help="Publish events.", no_args_is_help=False)


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

"""The commands about what is cached of tasks."""

from __future__ import annotations

from typing import Annotated

import typer

from rewake.cli.options import Json, Url

cache = typer.Typer(help="Results of tasks that are cached.", no_args_is_help=False)


@cache.command("list")
def cache_list(url: Url = None, json: Json = False) -> None:
    """Results that are cached: of which task and run, and until when."""
    from rewake.cli.remote.cached import listing
    from rewake.cli.remote.runs import Server

    raise typer.Exit(listing(Server(url, json)))


@cache.command("clear")
def cache_clear(
    task: Annotated[
        str | None, typer.Option(help="Only those of this task; without: all of them.")
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Forget results: the next call is carried out, and what is carried out now is not kept."""
    from rewake.cli.remote.cached import clear
    from rewake.cli.remote.runs import Server

    raise typer.Exit(clear(Server(url, json), task))

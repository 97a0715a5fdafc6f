"""The commands about keyed states."""

from __future__ import annotations

from typing import Annotated

import typer

from rewake.cli.inputs import json_value
from rewake.cli.options import Cursor, Json, Limit, Url

states = typer.Typer(help="Keyed states: small values that runs share.", no_args_is_help=False)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of a state.")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="Its key.")]
Tenant = Annotated[str | None, typer.Option(help="Of the runs of this tenant.")]


@states.command("list")
def state_list(
    name: Annotated[str | None, typer.Option(help="Only those of this name.")] = None,
    tenant: Tenant = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """States, by name and key: how often each was written, and which run has it now."""
    from rewake.cli.remote.states import listing

    query = {"name": name, "tenant": tenant, "limit": limit, "cursor": cursor}
    raise typer.Exit(listing(url, json, query))


@states.command("get")
def state_get(
    name: Name, key: Key, tenant: Tenant = None, url: Url = None, json: Json = False
) -> None:
    """The value of a state; with --json also its version, and which run has it."""
    from rewake.cli.remote.states import get

    raise typer.Exit(get(url, json, name, key, tenant))


@states.command("set")
def state_set(
    name: Name,
    key: Key,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="What it is to be, as JSON.")],
    version: Annotated[
        int | None, typer.Option(help="Only if it is of this version still (0: there is none).")
    ] = None,
    tenant: Tenant = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Write a state that no run has now."""
    from rewake.cli.remote.states import write

    raise typer.Exit(write(url, json, (name, key), json_value(value, "VALUE"), version, tenant))


@states.command("remove")
def state_remove(
    name: Name, key: Key, tenant: Tenant = None, url: Url = None, json: Json = False
) -> None:
    """Remove a state that no run has now, with its value."""
    from rewake.cli.remote.states import remove

    raise typer.Exit(remove(url, json, name, key, tenant))

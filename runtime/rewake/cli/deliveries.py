"""The commands about what is sent to webhooks."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from rewake.cli.options import Cursor, Json, Limit, Since, Url

deliveries = typer.Typer(help="What was sent to webhooks.", no_args_is_help=False)

Id = Annotated[str, typer.Argument(metavar="ID", help="The id of a delivery, as the list has it.")]


@deliveries.command("list")
def deliveries_list(
    hook: Annotated[str | None, typer.Option(help="Only to this path, without /hooks/.")] = None,
    verdict: Annotated[
        str | None,
        typer.Option(help="Only started, repeated, ignored, answered, refused or failed ones."),
    ] = None,
    workflow: Annotated[str | None, typer.Option(help="Only to hooks of this workflow.")] = None,
    since: Since = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Deliveries, newest first, and what became of them."""
    from rewake.cli.remote.deliveries import listing

    query = {"hook": hook, "verdict": verdict, "workflow": workflow}
    raise typer.Exit(listing(url, json, {**query, "limit": limit, "cursor": cursor}, since))


@deliveries.command("show")
def deliveries_show(id: Id, url: Url = None, json: Json = False) -> None:
    """A delivery as it was sent, without what is secret in it, and why it was refused."""
    from rewake.cli.remote.deliveries import show

    raise typer.Exit(show(url, json, id))


@deliveries.command("replay")
def deliveries_replay(id: Id, url: Url = None, json: Json = False) -> None:
    """Send a delivery again: one that started a run starts another; a refused one, the first."""
    from rewake.cli.remote.deliveries import replay

    raise typer.Exit(replay(url, json, id))


@deliveries.command("sign")
def deliveries_sign(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="The hook's, without /hooks/; with ?query.")
    ],
    body: Annotated[str, typer.Option(help="A file with the body; - is stdin.")],
    header: Annotated[
        list[str] | None, typer.Option(help="One more header, 'Name: text'; may be repeated.")
    ] = None,
    app: Annotated[str, typer.Option(help="The code (REWAKE_APP, app.py).")] = "",
    url: Url = None,
) -> None:
    """Send a test delivery to a hook of an app, signed with the secret in the environment."""
    from rewake.cli.remote.signing import Wish, send

    source = app or os.environ.get("REWAKE_APP") or "app.py"
    raise typer.Exit(send(Wish(source, path, body, header or []), url))

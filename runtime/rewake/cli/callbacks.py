"""The commands that end a callback by its address, as the machine would that it was handed to."""

from __future__ import annotations

from typing import Annotated

import typer

from rewake.cli.inputs import json_value
from rewake.cli.options import Json

callbacks = typer.Typer(help="End a callback in a machine's place.", no_args_is_help=False)

Address = Annotated[str, typer.Argument(metavar="URL", help="The callback's whole address.")]


@callbacks.command("complete")
def complete(
    url: Address,
    value: Annotated[str | None, typer.Option(help="The result, as JSON (null).")] = None,
    json: Json = False,
) -> None:
    """Complete it with a result."""
    from rewake.cli.remote.callbacks import call

    raise typer.Exit(call(url, json_value(value), json=json))


@callbacks.command("fail")
def fail(
    url: Address,
    type: Annotated[str, typer.Option(help="The type of the error.")],
    message: Annotated[str, typer.Option(help="What it says.")] = "",
    json: Json = False,
) -> None:
    """Let it raise a `TaskError`."""
    from rewake.cli.remote.callbacks import call

    raise typer.Exit(call(url, {"type": type, "message": message}, "fail", json=json))

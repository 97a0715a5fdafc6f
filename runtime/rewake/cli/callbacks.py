"""The commands that end a callback by its address, as the machine would that it was handed to."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from rewake.errors import UsageError

callbacks = typer.Typer(help="End a callback in a machine's place.", no_args_is_help=False)

Address = Annotated[str, typer.Argument(metavar="URL", help="The callback's whole address.")]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for machines.")]


@callbacks.command("complete")
def complete(
    url: Address,
    value: Annotated[str | None, typer.Option(help="The result, as JSON (null).")] = None,
    json: Json = False,
) -> None:
    """Complete it with a result."""
    from rewake.cli.remote.callbacks import call

    raise typer.Exit(call(url, _result(value), json=json))


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


def _result(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        raise UsageError(f"--value is not JSON: {error}") from None

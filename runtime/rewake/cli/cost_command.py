"""`rewake cost`: the command."""

from __future__ import annotations

import typer

from rewake.cli.options import Input, InputFile, Json, Source, Wait


def cost(
    source: Source,
    input: Input = None,
    input_file: InputFile = None,
    wait: Wait = 60,
    json: Json = False,
) -> None:
    """Run a workflow once, on a database in memory, and say what it would cost in the cloud."""
    from rewake.cli.inputs import arguments_from
    from rewake.cli.local.cost import cost as carry_out

    arguments = arguments_from(input, input_file) or {}
    raise typer.Exit(carry_out(source, arguments, wait, json=json))

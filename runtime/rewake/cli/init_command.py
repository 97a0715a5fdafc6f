"""The command `rewake init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewake.errors import UsageError

NAMES = (
    "container",
    "asgi",
    "wsgi",
    "aws-lambda",
    "cloud-run",
    "cloud-functions",
    "azure-functions",
    "vercel",
)
"""The hosts for which there is a project."""


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where to; it is made if there is none.")
    ] = Path(),
    host: Annotated[str, typer.Option(help=f"One of {', '.join(NAMES)}.")] = "container",
) -> None:
    """Make a small project for a host: an app, and all that its platform needs. Overwrites none."""
    if host not in NAMES:
        raise UsageError(f"there is no project for {host!r} (there is: {', '.join(NAMES)})")
    from rewake.cli.local.init import stamp

    raise typer.Exit(stamp(host, folder))

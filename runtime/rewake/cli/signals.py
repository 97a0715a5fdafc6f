"""The commands of signals: `rewake runs signal`, `rewake runs signals`."""

from __future__ import annotations

from typing import Annotated

import typer

from rewake.cli.inputs import json_value
from rewake.cli.options import Json, RunId, Url


def add_signals(runs: typer.Typer) -> None:
    """Add the commands to those of runs."""
    runs.command("signal")(runs_signal)
    runs.command("signals")(runs_signals)


def runs_signal(
    run: RunId,
    name: Annotated[str, typer.Argument(help="What the signal is called.")],
    value: Annotated[str | None, typer.Option(help="What it says, as JSON (null).")] = None,
    id: Annotated[
        str | None, typer.Option(help="Tells it from others: sent again, it comes once.")
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, help="It is an update: seconds to wait for the answer.")
    ] = 0,
    url: Url = None,
    json: Json = False,
) -> None:
    """Send a signal to a run; with --wait, print what it answers."""
    from rewake.cli.remote.runs import Server
    from rewake.cli.remote.signals import send

    raise typer.Exit(send(Server(url, json), run, name, json_value(value), id, wait))


def runs_signals(run: RunId, url: Url = None, json: Json = False) -> None:
    """What a run was sent, in order, and what became of it."""
    from rewake.cli.remote.runs import Server
    from rewake.cli.remote.signals import listing

    raise typer.Exit(listing(Server(url, json), run))

"""The commands of signals: `rewake runs signal`, `signal-or-start` and `signals`."""

from __future__ import annotations

from typing import Annotated

import typer

from rewake.cli.inputs import json_value
from rewake.cli.options import Json, RunId, Url


def add_signals(runs: typer.Typer) -> None:
    """Add the commands to those of runs."""
    runs.command("signal")(runs_signal)
    runs.command("signal-or-start")(runs_signal_or_start)
    runs.command("signals")(runs_signals)


Name = Annotated[str, typer.Argument(help="What the signal is called.")]
Says = Annotated[str | None, typer.Option(help="What it says, as JSON (null).")]
OwnId = Annotated[str | None, typer.Option(help="Tells it from others: sent again, it comes once.")]
Waits = Annotated[
    float, typer.Option(min=0, help="It is an update: seconds to wait for the answer.")
]


def runs_signal(
    run: RunId,
    name: Name,
    value: Says = None,
    id: OwnId = None,
    wait: Waits = 0,
    url: Url = None,
    json: Json = False,
) -> None:
    """Send a signal to a run; with --wait, print what it answers."""
    from rewake.cli.remote.runs import Server
    from rewake.cli.remote.signals import send

    raise typer.Exit(send(Server(url, json), run, name, json_value(value), id, wait))


def runs_signal_or_start(
    workflow: Annotated[str, typer.Argument(help="The workflow of a new run.")],
    key: Annotated[str, typer.Argument(help="The idempotency key of the run.")],
    name: Name,
    value: Says = None,
    input: Annotated[str | None, typer.Option(help="Of a new run: a JSON object.")] = None,
    id: OwnId = None,
    tenant: Annotated[str | None, typer.Option(help="Whose run it is.")] = None,
    wait: Waits = 0,
    url: Url = None,
    json: Json = False,
) -> None:
    """Send a signal to the run of a key, or start one that begins with it; print the run's id."""
    from rewake.cli.inputs import arguments_from
    from rewake.cli.remote.runs import Server
    from rewake.cli.remote.signals import First, send_or_start

    first = First(workflow, key, arguments_from(input, None) or {}, tenant)
    raise typer.Exit(send_or_start(Server(url, json), first, name, json_value(value), id, wait))


def runs_signals(
    run: RunId,
    unread: Annotated[bool, typer.Option("--unread", help="Only what nothing has taken.")] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """What a run was sent, in order, and what became of it."""
    from rewake.cli.remote.runs import Server
    from rewake.cli.remote.signals import listing

    raise typer.Exit(listing(Server(url, json), run, unread=unread))

"""The commands about schedules."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from rewake.cli.options import Cursor, Input, InputFile, Json, Limit, Url
from rewake.errors import InvalidInput, UsageError

schedules = typer.Typer(help="When runs are started.", no_args_is_help=False)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of a schedule.")]
OptionalName = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="The name of a schedule.")
]
Cron = Annotated[str | None, typer.Option("--cron", help="A cron line, such as '0 9 * * mon-fri'.")]
Zone = Annotated[str | None, typer.Option("--tz", help="The zone of its clocks (Europe/Zurich).")]
Every = Annotated[str | None, typer.Option("--every", help="Each so long: 90s, 10m, 2h, 1d.")]
Start = Annotated[str | None, typer.Option("--start", help="With --every: counted from then on.")]
Jitter = Annotated[str | None, typer.Option(help="Up to so much later, by chance: 30s, 5m.")]
Overlap = Annotated[
    str | None, typer.Option(help="While the run before goes on: skip, queue, cancel, allow.")
]
CatchUp = Annotated[str | None, typer.Option(help="How late a run may be started: 1h, 1d.")]
OfWorkflow = Annotated[str | None, typer.Option("--workflow", help="All of this workflow.")]
All = Annotated[bool, typer.Option("--all", help="All there are.")]

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


@schedules.command("list")
def schedules_list(
    workflow: Annotated[str | None, typer.Option(help="Only of this workflow.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Schedules, by name: when the next run is, and what the newest time came to."""
    from rewake.cli.remote.schedules import listing

    query = {"workflow": workflow, "limit": limit, "cursor": cursor}
    raise typer.Exit(listing(url, json, query))


@schedules.command("show")
def schedules_show(name: Name, url: Url = None, json: Json = False) -> None:
    """A schedule: what it is, what it waits for, what became of its newest times."""
    from rewake.cli.remote.schedules import show

    raise typer.Exit(show(url, json, name))


@schedules.command("create")
def schedules_create(
    name: Name,
    workflow: Annotated[str, typer.Argument(help="The workflow's name.")],
    cron: Cron = None,
    tz: Zone = None,
    every: Every = None,
    start: Start = None,
    input: Input = None,
    input_file: InputFile = None,
    jitter: Jitter = None,
    overlap: Overlap = None,
    catch_up: CatchUp = None,
    paused: Annotated[bool, typer.Option("--paused", help="Until it is resumed.")] = False,
    tenant: Annotated[str, typer.Option(help="Whose its runs are.")] = "",
    url: Url = None,
    json: Json = False,
) -> None:
    """Start runs of a workflow at the times of a cron line, or every so long."""
    from rewake.cli.remote.schedules import create

    if (cron is None) == (every is None):
        raise UsageError("give either --cron or --every")
    made = _made(cron, tz, every, start, input, input_file, jitter, overlap, catch_up)
    body = {"name": name, "workflow": workflow, "paused": paused, "tenant": tenant, **made}
    raise typer.Exit(create(url, json, body))


@schedules.command("change")
def schedules_change(
    name: Name,
    cron: Cron = None,
    tz: Zone = None,
    every: Every = None,
    start: Start = None,
    input: Input = None,
    input_file: InputFile = None,
    jitter: Jitter = None,
    overlap: Overlap = None,
    catch_up: CatchUp = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Override a schedule, until the code says something else of it; what is not said stays."""
    from rewake.cli.remote.schedules import change

    body = _made(cron, tz, every, start, input, input_file, jitter, overlap, catch_up)
    if not body:
        raise UsageError("say what is to change, such as --cron")
    raise typer.Exit(change(url, json, name, body))


@schedules.command("pause")
def schedules_pause(
    name: OptionalName = None,
    note: Annotated[str, typer.Option(help="Why; it is shown.")] = "",
    workflow: OfWorkflow = None,
    every: All = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Start no runs by it until it is resumed; by all, or all of a workflow."""
    from rewake.cli.remote.schedules import Chosen, act

    chosen = Chosen(name, workflow, every)
    raise typer.Exit(act(url, json, chosen, "pause", {"note": note}))


@schedules.command("resume")
def schedules_resume(
    name: OptionalName = None,
    workflow: OfWorkflow = None,
    every: All = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Start runs again; the times that passed meanwhile have none."""
    from rewake.cli.remote.schedules import Chosen, act

    raise typer.Exit(act(url, json, Chosen(name, workflow, every), "resume", {}))


@schedules.command("trigger")
def schedules_trigger(
    name: Name,
    id: Annotated[str | None, typer.Option(help="The run's id.")] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Start a run of it now, paused or not; prints its id."""
    from rewake.cli.remote.schedules import trigger

    raise typer.Exit(trigger(url, json, name, id))


@schedules.command("backfill")
def schedules_backfill(
    name: Name,
    since: Annotated[str, typer.Option(help="From then on (7d, a time).")],
    until: Annotated[str | None, typer.Option(help="Before then; default: now.")] = None,
    queue: Annotated[
        bool, typer.Option("--queue", help="One after the other, not all at once.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only name the times.")] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Start the runs of times of the past that have none: at most 1,000."""
    from rewake.cli.remote.schedules import backfill

    raise typer.Exit(backfill(url, json, name, (since, until), queue=queue, dry_run=dry_run))


@schedules.command("next")
def schedules_next(
    name: Name,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 10,
    url: Url = None,
    json: Json = False,
) -> None:
    """The next times of a schedule, as its clocks show them."""
    from rewake.cli.remote.schedules import upcoming

    raise typer.Exit(upcoming(url, json, name, count))


@schedules.command("delete")
def schedules_delete(name: Name, url: Url = None, json: Json = False) -> None:
    """Remove a schedule; its runs stay. One that the code has comes back with the next start."""
    from rewake.cli.remote.schedules import delete

    raise typer.Exit(delete(url, json, name))


def _made(
    cron: str | None,
    tz: str | None,
    every: str | None,
    start: str | None,
    input: str | None,
    input_file: str | None,
    jitter: str | None,
    overlap: str | None,
    catch_up: str | None,
) -> dict[str, Any]:
    """What options say, as the body of a request. Raises `InvalidInput`."""
    from rewake.cli.inputs import arguments_from

    said = {
        "cron": cron,
        "tz": tz,
        "every": _seconds("--every", every),
        "start": start,
        "input": arguments_from(input, input_file),
        "jitter": _seconds("--jitter", jitter),
        "overlap": overlap,
        "catch_up": _seconds("--catch-up", catch_up),
    }
    return {name: value for name, value in said.items() if value is not None}


def _seconds(option: str, text: str | None) -> float | None:
    """How long, as an option says it. Raises `InvalidInput`."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)", text, re.ASCII)
    if found is None:
        raise InvalidInput(f"{option} is how long, such as 90s, 10m, 2h or 1d")
    return float(found[1]) * _UNITS[found[2]]

"""The commands that keep ended runs, remove them, and take them along."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewake.cli.options import Json, RunId, Url
from rewake.errors import UsageError

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


def runs_hold(run: RunId, dry_run: DryRun = False, url: Url = None, json: Json = False) -> None:
    """Keep a run from being removed, until `unhold`."""
    _act("hold", run, dry_run, url, json)


def runs_unhold(run: RunId, dry_run: DryRun = False, url: Url = None, json: Json = False) -> None:
    """Let a run be removed when its time is over, perhaps at once."""
    _act("unhold", run, dry_run, url, json)


def _act(action: str, run: str, dry_run: bool, url: str | None, json: bool) -> None:
    from rewake.cli.remote.acting import Selection, act
    from rewake.cli.remote.runs import Server

    raise typer.Exit(act(Server(url, json), Selection(run, dry_run=dry_run), action))


def runs_erase(
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Their ids.")] = None,
    key: Annotated[str | None, typer.Option(help="All runs of this idempotency key.")] = None,
    workflow: Annotated[str | None, typer.Option(help="With --key: of this workflow.")] = None,
    tenant: Annotated[str | None, typer.Option(help="With --key: of this tenant.")] = None,
    dry_run: DryRun = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Remove ended runs now, with all that came to them; audit entries stay."""
    from rewake.cli.remote.keeping import erase
    from rewake.cli.remote.runs import Server

    if (key is None) == (not runs):
        raise UsageError("give either RUNs or a --key")
    about = {"key": key, "workflow": workflow, "tenant": tenant}
    raise typer.Exit(erase(Server(url, json), runs or (), about, dry_run=dry_run))


def runs_purge(
    older_than: Annotated[str, typer.Option(help="Ended before then (12h, 90d, a time).")],
    state: Annotated[
        list[str] | None, typer.Option(help="Only those: done, failed, cancelled.")
    ] = None,
    workflow: Annotated[str | None, typer.Option(help="Only of this workflow.")] = None,
    tenant: Annotated[str, typer.Option(help="Only of this tenant.")] = "",
    dry_run: DryRun = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Remove ended runs that nobody holds, before their time; they go within a minute."""
    from rewake.cli.remote.acting import moment_of
    from rewake.cli.remote.keeping import purge
    from rewake.cli.remote.runs import Server

    body = {
        "before": moment_of(older_than, "--older-than"),
        "workflow": workflow,
        "tenant": tenant,
        "states": state or [],
    }
    raise typer.Exit(purge(Server(url, json), {**body, "dry_run": dry_run}))


def runs_export(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Its id.")] = None,
    tenant: Annotated[
        str | None, typer.Option(help="All runs of this tenant, a line each.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file, .gz: compressed; else stdout.")
    ] = None,
    url: Url = None,
) -> None:
    """All that a server shows of a run, as one JSON document: to archive it."""
    from rewake.cli.remote.keeping import export, export_all
    from rewake.cli.remote.runs import Server

    if (run is None) == (not tenant):
        raise UsageError("give either a RUN or a --tenant")
    server = Server(url, True)
    done = export(server, run, output) if run else export_all(server, tenant or "", output)
    raise typer.Exit(done)


def runs_archived(
    day: Annotated[str, typer.Argument(metavar="DAY", help="On which they ended: 2026-11-26.")],
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Its id.")] = None,
    erase: Annotated[bool, typer.Option("--erase", help="Remove it from the archive.")] = False,
) -> None:
    """What REWAKE_ARCHIVE has of a day: its runs; of a RUN, what `export` told of it."""
    from rewake.cli.local.archived import erased, listed, shown

    if run is None:
        if erase:
            raise UsageError("--erase is for one RUN")
        raise typer.Exit(listed(day))
    raise typer.Exit(erased(day, run) if erase else shown(day, run))


def add_keeping(to: typer.Typer) -> None:
    """Add these commands to those of runs."""
    for name, command in (
        ("hold", runs_hold),
        ("unhold", runs_unhold),
        ("erase", runs_erase),
        ("purge", runs_purge),
        ("export", runs_export),
        ("archived", runs_archived),
    ):
        to.command(name)(command)

"""The commands and their options. The work of each is in its own module, imported when it runs."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from rewake.cli.access import audit, tokens
from rewake.cli.acting import add_acting
from rewake.cli.approval_commands import approvals, runs_approve
from rewake.cli.cached import cache
from rewake.cli.callbacks import callbacks
from rewake.cli.cost_command import cost
from rewake.cli.dead_letters import deadletters
from rewake.cli.deliveries import deliveries
from rewake.cli.doctor_command import doctor
from rewake.cli.events import events
from rewake.cli.exits import EXITS, Exit, complain, exit_for, warn_in_lines
from rewake.cli.init_command import init
from rewake.cli.keeping import add_keeping
from rewake.cli.options import (
    Cursor,
    Db,
    DiscardCleanup,
    Input,
    InputFile,
    Json,
    Label,
    Limit,
    RunId,
    Source,
    Url,
    Wait,
)
from rewake.cli.schedules import schedules
from rewake.cli.signals import add_signals
from rewake.cli.states import states
from rewake.cli.tables_command import tables
from rewake.cli.watch import runs_watch
from rewake.engine.starts.starting import IfFinished, IfRunning
from rewake.errors import DeterminismWarning, RewakeError, UsageError

_ClickError: type[Exception] = typer.BadParameter.__mro__[2]
"""The class of all wrong uses of the command line; typer exports only a grandchild of it."""


class Commands(TyperGroup):
    """Answers every error in one line."""

    def main(self, *args: Any, **details: Any) -> Any:
        details["standalone_mode"] = False
        try:
            with warnings.catch_warnings():
                warn_in_lines()
                code = super().main(*args, **details)
        except (RewakeError, DeterminismWarning) as error:
            complain(error)
            code = exit_for(error)
        except _ClickError as error:
            code = _misused(error)
        except typer.Abort:
            code = Exit.INTERRUPTED
        except OSError as error:
            if error.filename is None:
                raise
            complain(f"{error.filename}: {error.strerror}")
            code = Exit.UNAVAILABLE
        sys.exit(code if isinstance(code, int) else Exit.DONE)


def _misused(error: Any) -> Exit:
    command = error.ctx.command_path if error.ctx is not None else "rewake"
    complain(f"{error.format_message()} (see `{command} --help`)")
    return Exit.USAGE


app = typer.Typer(
    cls=Commands,
    help="Durable workflows in plain async Python.",
    epilog=EXITS,
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
runs = typer.Typer(help="Look at the runs of a server, and act on them.", no_args_is_help=False)
app.add_typer(runs, name="runs")
app.add_typer(cache, name="cache")
app.add_typer(tokens, name="tokens")
app.add_typer(audit, name="audit")
app.add_typer(callbacks, name="callbacks")
app.add_typer(events, name="events")
app.add_typer(approvals, name="approvals")
app.add_typer(deliveries, name="deliveries")
app.add_typer(deadletters, name="deadletters")
app.add_typer(schedules, name="schedules")
app.add_typer(states, name="state")
app.add_typer(tables, name="tables")
app.command("doctor")(doctor)
app.command("cost")(cost)
app.command("init")(init)

OptionalSource = Annotated[
    str | None, typer.Argument(metavar="APP", help="The app's file or module; or REWAKE_APP.")
]
Host = Annotated[str | None, typer.Option(help="Where to listen (REWAKE_HOST, 127.0.0.1).")]
Port = Annotated[int | None, typer.Option(help="0 takes any (REWAKE_PORT, 8000).")]
LogFormat = Annotated[
    str | None, typer.Option(help="text, or json: an object a line (REWAKE_LOG_FORMAT).")
]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"rewake {version('rewake')}")
        except PackageNotFoundError:
            typer.echo("rewake (from its sources)")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def rewake(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - it acts when it is read
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Durable workflows in plain async Python."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


# --- serving -----------------------------------------------------------------------------------


@app.command()
def dev(
    source: OptionalSource = None,
    host: Host = None,
    port: Port = None,
    db: Db = None,
    log_format: LogFormat = None,
) -> None:
    """Serve an app for development: everything in .rewake/, anew whenever its code changes."""
    from rewake.cli.dev.supervisor import DevOptions
    from rewake.cli.dev.supervisor import dev as carry_out

    _end(carry_out(DevOptions(source, host, port, db, log_format)))


@app.command()
def serve(
    source: OptionalSource = None,
    host: Host = None,
    port: Port = None,
    db: Db = None,
    dispatcher: Annotated[
        str | None, typer.Option(help="in-process, http, sqs or lambda (REWAKE_DISPATCHER).")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="The address of all replicas, for http (REWAKE_URL).")
    ] = None,
    tags: Annotated[
        str | None,
        typer.Option(help="Serve only tasks of these tags; default: those without (REWAKE_TAGS)."),
    ] = None,
    lease: Annotated[
        float | None, typer.Option(help="Seconds after which a dead replica is noticed.")
    ] = None,
    tasks: Annotated[int | None, typer.Option(help="How many tasks run at once.")] = None,
    grace: Annotated[
        float | None, typer.Option(help="Seconds that work may go on at the end.")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error (REWAKE_LOG_LEVEL).")
    ] = None,
    log_format: LogFormat = None,
) -> None:
    """Serve an app in production. Needs REWAKE_SECRET."""
    from rewake.cli.serve import serve as carry_out

    carry_out(
        app=source,
        host=host,
        port=port,
        db=db,
        dispatcher=dispatcher,
        url=url,
        tags=tags,
        lease=lease,
        tasks=tasks,
        grace=grace,
        log_level=log_level,
        log_format=log_format,
    )


@app.command()
def token() -> None:
    """Print the bearer token: from REWAKE_TOKEN, REWAKE_SECRET or .rewake/secret."""
    from rewake.cli.home import find_token

    typer.echo(find_token())


# --- in this process ---------------------------------------------------------------------------


@app.command()
def run(
    source: Source,
    input: Input = None,
    input_file: InputFile = None,
    db: Db = None,
    id: Annotated[
        str | None, typer.Option(help="The run's id; one that exists goes on where it was.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Let a stuck, paused or failed run (--id) go on.")
    ] = False,
    discard_cleanup: DiscardCleanup = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Run a workflow to its end here: progress on stderr, its result as JSON on stdout."""
    from rewake.cli.home import database
    from rewake.cli.inputs import arguments_from
    from rewake.cli.local.run import RunOptions
    from rewake.cli.local.run import run as carry_out

    arguments = arguments_from(input, input_file)
    if resume and id is None:
        raise UsageError("--resume needs --id")
    if discard_cleanup and not resume:
        raise UsageError("--discard-cleanup needs --resume")
    options = RunOptions(source, database(db), arguments, id, resume, discard_cleanup, quiet)
    _end(carry_out(options))


@app.command()
def replay(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="The id of a run.")] = "",
    source: Annotated[str, typer.Option("--app", help="The code (REWAKE_APP, app.py).")] = "",
    db: Db = None,
    pdb: Annotated[
        bool, typer.Option("--pdb", help="Stop in a debugger at the workflow's first line.")
    ] = False,
    logs: Annotated[
        bool, typer.Option("--logs", help="Let the body log and print, as when it was new.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Every run, in one line each.")] = False,
    state: Annotated[list[str] | None, typer.Option(help="With --all: runs in this state.")] = None,
) -> None:
    """Feed a run's history to the code of now: does it still do the same?

    Nothing is written, dispatched or run but the workflow's body. Exit code 5: it differs.
    """
    from rewake.cli.home import database
    from rewake.cli.replay.command import ReplayOptions
    from rewake.cli.replay.command import replay as carry_out

    source = source or os.environ.get("REWAKE_APP") or "app.py"
    states = tuple(state or ())
    _end(carry_out(ReplayOptions(run, source, database(db), pdb, logs, every, states)))


@app.command()
def openapi(
    source: Annotated[
        str | None, typer.Option("--app", help="The app's file or module; else a server is asked.")
    ] = None,
    url: Url = None,
) -> None:
    """The HTTP API as an OpenAPI 3.1 document, each workflow's own requests too."""
    from rewake.cli.openapi import openapi as carry_out

    _end(carry_out(source, url))


# --- asking a server ---------------------------------------------------------------------------


@app.command()
def start(
    workflow: Annotated[str, typer.Argument(help="The workflow's name.")],
    input: Input = None,
    input_file: InputFile = None,
    id: Annotated[
        str | None, typer.Option(help="The run's id: starting again attaches to it.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="An idempotency key: starting again attaches to its run.")
    ] = None,
    if_running: Annotated[
        IfRunning | None, typer.Option(help="If the newest run of the key has not ended.")
    ] = None,
    if_finished: Annotated[
        IfFinished | None, typer.Option(help="If it has ended: restart starts a new one.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="When it begins, such as 2026-01-31T12:00; else at once.")
    ] = None,
    delay: Annotated[str | None, typer.Option(help="In how long it begins (90s, 30m, 2h).")] = None,
    label: Label = None,
    wait: Annotated[
        float | None, typer.Option(min=0, help="Seconds to wait for the result.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose run it is.")] = None,
    priority: Annotated[
        int | None, typer.Option(min=-100, max=100, help="In a line, higher ones go first.")
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Start a run on a server; prints its id, or with --wait its result."""
    from rewake.cli.inputs import arguments_from
    from rewake.cli.remote.runs import Again, Server
    from rewake.cli.remote.runs import start as carry_out

    arguments = arguments_from(input, input_file) or {}
    again = Again(key, if_running, if_finished, at, delay, tenant, priority, label, id)
    _end(carry_out(Server(url, json), workflow, arguments, again, wait))


@runs.command("list")
def runs_list(
    workflow: Annotated[str | None, typer.Option(help="Only of this workflow.")] = None,
    state: Annotated[str | None, typer.Option(help="Only those in this state.")] = None,
    key: Annotated[str | None, typer.Option(help="Only of this idempotency key.")] = None,
    all: Annotated[bool, typer.Option("--all", help="Also those that runs have begun.")] = False,
    schedule: Annotated[str | None, typer.Option(help="Only of this schedule.")] = None,
    scheduled: Annotated[
        bool | None, typer.Option(help="Only those that schedules have started, or none of them.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    label: Label = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Runs, newest first; those that runs have begun with --all only."""
    from rewake.cli.remote.runs import Server, listing

    query = {"workflow": workflow, "state": state, "key": key, "label": label, "limit": limit}
    query |= {"children": "true" if all else None, "tenant": tenant, "schedule": schedule}
    query["scheduled"] = None if scheduled is None else str(scheduled).lower()
    _end(listing(Server(url, json), {**query, "cursor": cursor}))


@app.command()
def limits(url: Url = None, json: Json = False) -> None:
    """Who holds the limits of tasks and workflows, and who waits for them."""
    from rewake.cli.remote.limits import listing
    from rewake.cli.remote.runs import Server

    _end(listing(Server(url, json)))


@runs.command("overdue")
def runs_overdue(limit: Limit = 50, url: Url = None, json: Json = False) -> None:
    """Runs that should have moved and did not: since when, why, and what helps."""
    from rewake.cli.remote.overdue import listing
    from rewake.cli.remote.runs import Server

    _end(listing(Server(url, json), limit))


@runs.command("show")
def runs_show(run: RunId, url: Url = None, json: Json = False) -> None:
    """Where a run stands, and what it waits for."""
    from rewake.cli.remote.runs import Server, show

    _end(show(Server(url, json), run))


@runs.command("result")
def runs_result(run: RunId, wait: Wait = 0, url: Url = None, json: Json = False) -> None:
    """The result of a run, as JSON."""
    from rewake.cli.remote.runs import Server, result

    _end(result(Server(url, json), run, wait))


@runs.command("history")
def runs_history(run: RunId, url: Url = None, json: Json = False) -> None:
    """The tasks, steps, timers and approvals of a run."""
    from rewake.cli.remote.runs import Server, history

    _end(history(Server(url, json), run))


@runs.command("logs")
def runs_logs(
    run: RunId,
    key: Annotated[str | None, typer.Option(help="Only of this operation.")] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """What a run logged: its workflow, and its tasks and steps."""
    from rewake.cli.remote.runs import Server, logs

    _end(logs(Server(url, json), run, key))


runs.command("watch")(runs_watch)


add_acting(runs)
add_keeping(runs)


runs.command("approve")(runs_approve)
add_signals(runs)


def _end(code: Exit) -> NoReturn:
    """End the command, also when an abandoned sync function still runs in its thread."""
    import threading

    sys.stdout.flush()
    sys.stderr.flush()
    if any(
        thread.name.startswith(("rewake-task", "rewake-step")) for thread in threading.enumerate()
    ):
        os._exit(code)  # Python would wait for it
    raise typer.Exit(code)

"""The commands that act on one run of a server, or on all those that their options name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rewake.cli.options import DiscardCleanup, Input, InputFile, Json, RunId, Url

if TYPE_CHECKING:
    from rewake.cli.remote.acting import Selection

OptionalRunId = Annotated[str | None, typer.Argument(metavar="[RUN]", help="The id of a run.")]
OfState = Annotated[str | None, typer.Option("--state", help="Many: all in this state.")]
OfWorkflow = Annotated[str | None, typer.Option("--workflow", help="Many: all of this workflow.")]
OfSince = Annotated[str | None, typer.Option(help="Many: started since then (2h, 7d, a time).")]
OfLabel = Annotated[str | None, typer.Option(help="Many: with these labels (name=value,…).")]
OfTenant = Annotated[str | None, typer.Option(help="Many: all of this tenant.")]
Reason = Annotated[str | None, typer.Option(help="Kept with the run; at most 200 bytes.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only name them, and refusals.")]


def runs_cancel(
    run: OptionalRunId = None,
    reason: Reason = None,
    even_stuck: Annotated[
        bool, typer.Option("--even-stuck", help="Also a stuck run, whose cleanup cannot run.")
    ] = False,
    state: OfState = None,
    workflow: OfWorkflow = None,
    since: OfSince = None,
    label: OfLabel = None,
    tenant: OfTenant = None,
    dry_run: DryRun = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Ask a run to clean up and end; asked again, it is cancelled again."""
    from rewake.cli.remote.acting import Selection

    chosen = Selection(run, state, workflow, since, label, tenant, dry_run)
    _act(url, json, chosen, "cancel", reason=reason, even_stuck=even_stuck or None)


def runs_kill(
    run: OptionalRunId = None,
    reason: Reason = None,
    state: OfState = None,
    workflow: OfWorkflow = None,
    since: OfSince = None,
    label: OfLabel = None,
    tenant: OfTenant = None,
    dry_run: DryRun = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """End a run here and now, without its cleanup."""
    from rewake.cli.remote.acting import Selection

    chosen = Selection(run, state, workflow, since, label, tenant, dry_run)
    _act(url, json, chosen, "kill", reason=reason)


def runs_pause(
    run: OptionalRunId = None,
    state: OfState = None,
    workflow: OfWorkflow = None,
    since: OfSince = None,
    label: OfLabel = None,
    tenant: OfTenant = None,
    dry_run: DryRun = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Let nothing of a run begin any more, until it is resumed; what runs may end."""
    from rewake.cli.remote.acting import LIVE, Selection

    chosen = Selection(run, state, workflow, since, label, tenant, dry_run, acts_on=LIVE)
    _act(url, json, chosen, "pause")


def runs_resume(
    run: OptionalRunId = None,
    state: OfState = None,
    workflow: OfWorkflow = None,
    since: OfSince = None,
    label: OfLabel = None,
    tenant: OfTenant = None,
    dry_run: DryRun = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Let paused runs go on, and stuck ones after a fix."""
    from rewake.cli.remote.acting import Selection

    chosen = Selection(
        run, state, workflow, since, label, tenant, dry_run, acts_on=("paused", "stuck")
    )
    _act(url, json, chosen, "resume")


def runs_retry(
    run: OptionalRunId = None,
    discard_cleanup: DiscardCleanup = False,
    state: OfState = None,
    workflow: OfWorkflow = None,
    since: OfSince = None,
    label: OfLabel = None,
    tenant: OfTenant = None,
    dry_run: DryRun = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Let a failed run go on from before its error, after a fix; of many, all that failed."""
    from rewake.cli.remote.acting import Selection

    chosen = Selection(run, state, workflow, since, label, tenant, dry_run, acts_on=("failed",))
    _act(url, json, chosen, "retry", discard_cleanup=discard_cleanup or None)


def runs_rerun(
    run: OptionalRunId = None,
    input: Input = None,
    input_file: InputFile = None,
    state: OfState = None,
    workflow: OfWorkflow = None,
    since: OfSince = None,
    label: OfLabel = None,
    tenant: OfTenant = None,
    batch: Annotated[
        str | None, typer.Option(help="Of many: names it, so that none is begun twice.")
    ] = None,
    dry_run: DryRun = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Start a run anew, with its input or another one; of many, all that failed."""
    from rewake.cli.inputs import arguments_from
    from rewake.cli.remote.acting import Selection

    chosen = Selection(run, state, workflow, since, label, tenant, dry_run, acts_on=("failed",))
    _act(url, json, chosen, "rerun", batch=batch, input=arguments_from(input, input_file))


def runs_fork(
    run: RunId,
    at: Annotated[str, typer.Option(help="The key of the operation that it begins before.")],
    input: Input = None,
    input_file: InputFile = None,
    dry_run: DryRun = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Begin a new run from before an operation of this one, perhaps with another input."""
    from rewake.cli.inputs import arguments_from
    from rewake.cli.remote.acting import Selection

    given = arguments_from(input, input_file)
    _act(url, json, Selection(run, dry_run=dry_run), "fork", at=at, input=given)


def _act(
    url: str | None,
    json: bool,
    chosen: Selection,
    action: str,
    batch: str | None = None,
    **given: object,
) -> None:
    from rewake.cli.remote.acting import act
    from rewake.cli.remote.runs import Server

    raise typer.Exit(act(Server(url, json), chosen, action, batch, **given))


def add_acting(runs: typer.Typer) -> None:
    """Add these commands to those about runs."""
    runs.command("cancel")(runs_cancel)
    runs.command("kill")(runs_kill)
    runs.command("pause")(runs_pause)
    runs.command("resume")(runs_resume)
    runs.command("retry")(runs_retry)
    runs.command("rerun")(runs_rerun)
    runs.command("fork")(runs_fork)
